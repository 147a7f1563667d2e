package mount

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// The file systems that ReadSuper tells apart.
const (
	Ext4 = "ext4"
	XFS  = "xfs"
)

// Super is what a superblock says.
type Super struct {
	// FSType is Ext4, XFS, or "" for anything else, blank included. ext2 and
	// ext3 count as ext4, whose driver serves them.
	FSType string
	// Size is the file system's, in bytes.
	Size int64
	// Errors: the kernel met errors in this ext4 and nobody has checked it
	// since. A journal that wants replay is no error.
	Errors bool
}

const (
	extSuper = 1024 // kernel doc filesystems/ext4/super.rst
	extMagic = 0xef53
	// extErrors is a bit of s_state.
	extErrors = 0x2
	// maxBlockLog is the largest s_log_block_size: 64 KiB blocks.
	maxBlockLog = 6
)

// ReadSuper recognises the file system on a device or in an image by its
// superblock. It is no check that all is well. A mounted file system may be
// newer than what its device shows.
func ReadSuper(r io.ReaderAt) (Super, error) {
	var head [extSuper + 0x154]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Super{}, fmt.Errorf("read superblock: %w", err)
	}
	clear(head[n:])
	if string(head[:4]) == "XFSB" {
		return xfsSuper(head[:]), nil
	}
	return extSuperblock(head[extSuper:]), nil
}

// ReadSuperOf is ReadSuper of the device node or image at path.
func ReadSuperOf(path string) (Super, error) {
	f, err := os.Open(path)
	if err != nil {
		return Super{}, fmt.Errorf("read superblock: %w", err)
	}
	defer f.Close()
	s, err := ReadSuper(f)
	if err != nil {
		return Super{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// xfsSuper reads sb_blocksize and sb_dblocks (struct xfs_dsb, big endian).
func xfsSuper(b []byte) Super {
	return Super{FSType: XFS, Size: bytes(binary.BigEndian.Uint64(b[8:]), uint64(binary.BigEndian.Uint32(b[4:])))}
}

func extSuperblock(b []byte) Super {
	le := binary.LittleEndian
	if le.Uint16(b[0x38:]) != extMagic {
		return Super{}
	}
	shift := le.Uint32(b[0x18:])
	if shift > maxBlockLog {
		return Super{}
	}
	blocks := uint64(le.Uint32(b[0x4:]))
	const incompat64bit = 0x80
	if le.Uint32(b[0x60:])&incompat64bit != 0 {
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	return Super{
		FSType: Ext4,
		Size:   bytes(blocks, 1024<<shift),
		Errors: le.Uint16(b[0x3a:])&extErrors != 0,
	}
}

// bytes is blocks times size, capped: the numbers may be anybody's.
func bytes(blocks, size uint64) int64 {
	if size != 0 && blocks > math.MaxInt64/size {
		return math.MaxInt64
	}
	return int64(blocks * size)
}
