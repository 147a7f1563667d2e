// Package superblock reads how full a file system is from its superblock,
// without a mount: one read of 4 KiB, whatever its size.
//
// The numbers on disk are those of the last clean unmount, or of the last
// freeze (ext4) or log cover (xfs). Of a file system that is mounted they are
// old; whoever has it mounted asks statfs(2) instead.
//
// Parse is pure and takes any bytes; Read is the one system call's worth of
// code around it. Sources: Linux Documentation/filesystems/ext4/super.rst,
// fs/xfs/libxfs/xfs_format.h (struct xfs_dsb).
package superblock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/varve-project/varve/internal/mount"
)

// Head is how many bytes of the device Parse wants.
const Head = 4096

// Super is what a superblock says. Sizes are in bytes.
type Super struct {
	// FSType is mount.Ext4 or mount.XFS.
	FSType string
	// Size is the file system's, Free what of it is free. Size-Free counts
	// the file system's own structures as used.
	Size, Free int64
	// Inodes are in use.
	Inodes int64
	// Dirty: the journal of this ext4 wants replay, so Free and Inodes are
	// those before it. An xfs does not say in its superblock.
	Dirty bool
}

// Used is what is not free, in bytes.
func (s Super) Used() int64 { return s.Size - s.Free }

// ErrNone means that there is no ext4 and no xfs.
var ErrNone = errors.New("no ext4 or xfs superblock")

// ErrDamaged means that there is one whose numbers cannot be.
var ErrDamaged = errors.New("damaged superblock")

// Parse reads the first Head bytes of a device.
func Parse(head []byte) (Super, error) {
	if len(head) < Head {
		return Super{}, fmt.Errorf("%d bytes, want %d: %w", len(head), Head, ErrNone)
	}
	if string(head[:4]) == "XFSB" {
		return parseXFS(head)
	}
	return parseExt4(head[1024:2048])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Offsets and bits of struct ext4_super_block, which is little endian.
const (
	extInodes, extBlocks, extFreeBlocks, extFreeInodes      = 0x0, 0x4, 0xc, 0x10
	extLogBlockSize, extMagicAt, extIncompatAt, extROCompat = 0x18, 0x38, 0x60, 0x64
	extBlocksHigh, extFreeBlocksHigh, extChecksum           = 0x150, 0x158, 0x3fc

	extMagic              = 0xef53
	extRecover            = 0x4   // incompat: the journal wants replay
	ext64Bit              = 0x80  // incompat: the high halves count
	extMetadataChecksum   = 0x400 // ro_compat
	extMaxLogBlockSize    = 6     // 64 KiB
	extSmallestBlockShift = 10
)

func parseExt4(b []byte) (Super, error) {
	le := binary.LittleEndian
	if le.Uint16(b[extMagicAt:]) != extMagic {
		return Super{}, ErrNone
	}
	if le.Uint32(b[extROCompat:])&extMetadataChecksum != 0 {
		// The kernel's crc32c has no final inversion.
		if want, got := le.Uint32(b[extChecksum:]), ^crc32.Checksum(b[:extChecksum], castagnoli); want != got {
			return Super{}, fmt.Errorf("ext4: checksum %#x, want %#x: %w", got, want, ErrDamaged)
		}
	}
	shift := le.Uint32(b[extLogBlockSize:])
	if shift > extMaxLogBlockSize {
		return Super{}, fmt.Errorf("ext4: s_log_block_size %d: %w", shift, ErrDamaged)
	}
	incompat := le.Uint32(b[extIncompatAt:])
	blocks, free := uint64(le.Uint32(b[extBlocks:])), uint64(le.Uint32(b[extFreeBlocks:]))
	if incompat&ext64Bit != 0 {
		blocks |= uint64(le.Uint32(b[extBlocksHigh:])) << 32
		free |= uint64(le.Uint32(b[extFreeBlocksHigh:])) << 32
	}
	inodes, freeInodes := le.Uint32(b[extInodes:]), le.Uint32(b[extFreeInodes:])
	s, err := super(mount.Ext4, blocks, free, 1<<(extSmallestBlockShift+shift), uint64(inodes), uint64(freeInodes))
	s.Dirty = incompat&extRecover != 0
	return s, err
}

// Offsets of struct xfs_dsb, which is big endian but for its checksum.
const (
	xfsBlockSize, xfsBlocks, xfsVersion, xfsSectorSize   = 4, 8, 100, 102
	xfsInodes, xfsFreeInodes, xfsFreeBlocks, xfsChecksum = 128, 136, 144, 224

	xfsVersionMask, xfsVersion5 = 0xf, 5
)

func parseXFS(b []byte) (Super, error) {
	be := binary.BigEndian
	if be.Uint16(b[xfsVersion:])&xfsVersionMask == xfsVersion5 {
		sector := int(be.Uint16(b[xfsSectorSize:]))
		if sector < 512 || sector > Head || sector&(sector-1) != 0 {
			return Super{}, fmt.Errorf("xfs: sector size %d: %w", sector, ErrDamaged)
		}
		want := binary.LittleEndian.Uint32(b[xfsChecksum:])
		// The checksum counts as zero in its own sum.
		got := crc32.Update(0, castagnoli, b[:xfsChecksum])
		got = crc32.Update(got, castagnoli, make([]byte, 4))
		got = crc32.Update(got, castagnoli, b[xfsChecksum+4:sector])
		if want != got {
			return Super{}, fmt.Errorf("xfs: checksum %#x, want %#x: %w", got, want, ErrDamaged)
		}
	}
	size := be.Uint32(b[xfsBlockSize:])
	if size < 512 || size > 64<<10 || size&(size-1) != 0 {
		return Super{}, fmt.Errorf("xfs: block size %d: %w", size, ErrDamaged)
	}
	return super(mount.XFS, be.Uint64(b[xfsBlocks:]), be.Uint64(b[xfsFreeBlocks:]), uint64(size),
		be.Uint64(b[xfsInodes:]), be.Uint64(b[xfsFreeInodes:]))
}

// super refuses numbers that contradict each other: they come from a disk
// that a virtual machine may have written.
func super(fsType string, blocks, free, size, inodes, freeInodes uint64) (Super, error) {
	switch {
	case blocks == 0 || blocks > math.MaxInt64/size:
		return Super{}, fmt.Errorf("%s: %d blocks of %d bytes: %w", fsType, blocks, size, ErrDamaged)
	case free > blocks:
		return Super{}, fmt.Errorf("%s: %d of %d blocks are free: %w", fsType, free, blocks, ErrDamaged)
	case freeInodes > inodes || inodes > math.MaxInt64:
		return Super{}, fmt.Errorf("%s: %d of %d inodes are free: %w", fsType, freeInodes, inodes, ErrDamaged)
	}
	return Super{
		FSType: fsType, Size: int64(blocks * size), Free: int64(free * size),
		Inodes: int64(inodes - freeInodes),
	}, nil
}
