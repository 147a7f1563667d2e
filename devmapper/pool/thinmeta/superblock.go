package thinmeta

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	superblockMagic = 27022010
	superblockSalt  = 160774
	maxVersion      = 2
	flagNeedsCheck  = 1

	// maxBlocks is DM_SM_METADATA_MAX_BLOCKS: the kernel uses no more of a
	// metadata device, 15.875 GiB.
	maxBlocks = 255 * (1<<14 - 64)
)

// MaxMetadataBytes is the most of a metadata device that the kernel uses;
// what lies beyond is wasted (THIN_METADATA_MAX_SECTORS).
const MaxMetadataBytes = maxBlocks * BlockSize

// Superblock is a pool's root: of the pool itself (Metadata.Superblock) or of
// its metadata snapshot (Metadata.Held).
type Superblock struct {
	// TransactionID belongs to the pool's owner, who counts it by messages.
	TransactionID uint64
	// Time is the count of snapshots taken so far.
	Time uint32
	// NeedsCheck: the kernel has seen an error and writes no more until
	// thin_check or thin_repair has cleared this.
	NeedsCheck bool
	// Version of the layout, 1 or 2.
	Version uint32
	// UUID is sixteen bytes that no kernel fills in so far.
	UUID [16]byte
	// DataBlockSize and MetadataBlockSize are in sectors of 512 bytes.
	DataBlockSize     uint32
	MetadataBlockSize uint32
	// MetadataBlocks is the metadata's size when it was made; the kernel does
	// not keep it up to date when the metadata grows. See Usage.
	MetadataBlocks uint64
	// HeldRoot is the metadata block of the metadata snapshot's superblock, 0
	// when none is reserved.
	HeldRoot uint64
	// DataMappingRoot and DeviceDetailsRoot are the metadata blocks of the
	// two trees' roots.
	DataMappingRoot   uint64
	DeviceDetailsRoot uint64

	dataSpace     spaceMapRoot
	metadataSpace spaceMapRoot
}

// Offsets of struct thin_disk_superblock.
const (
	sbFlags          = 4
	sbUUID           = 16
	sbMagic          = 32
	sbVersion        = 40
	sbTime           = 44
	sbTransaction    = 48
	sbHeldRoot       = 56
	sbDataSpace      = 64
	sbMetadataSpace  = 192
	sbMappingRoot    = 320
	sbDetailsRoot    = 328
	sbDataBlockSize  = 336
	sbMetaBlockSize  = 340
	sbMetadataBlocks = 344
	sbIncompatFlags  = 360
)

// parseSuperblock checks and reads the superblock in a block read from nr.
func parseSuperblock(block []byte, nr uint64) (Superblock, error) {
	le := binary.LittleEndian
	if len(bytes.Trim(block, "\x00")) == 0 {
		return Superblock{}, corrupt(nr, "superblock is all zeroes: no pool was ever made here")
	}
	if magic := le.Uint64(block[sbMagic:]); magic != superblockMagic {
		return Superblock{}, corrupt(nr, "superblock has magic %d, want %d: not the metadata of a thin pool", magic, superblockMagic)
	}
	if err := checkBlock(block, nr, superblockSalt, "superblock"); err != nil {
		return Superblock{}, err
	}
	s := Superblock{
		TransactionID:     le.Uint64(block[sbTransaction:]),
		Time:              le.Uint32(block[sbTime:]),
		NeedsCheck:        le.Uint32(block[sbFlags:])&flagNeedsCheck != 0,
		Version:           le.Uint32(block[sbVersion:]),
		DataBlockSize:     le.Uint32(block[sbDataBlockSize:]),
		MetadataBlockSize: le.Uint32(block[sbMetaBlockSize:]),
		MetadataBlocks:    le.Uint64(block[sbMetadataBlocks:]),
		HeldRoot:          le.Uint64(block[sbHeldRoot:]),
		DataMappingRoot:   le.Uint64(block[sbMappingRoot:]),
		DeviceDetailsRoot: le.Uint64(block[sbDetailsRoot:]),
		dataSpace:         parseSpaceMapRoot(block[sbDataSpace:]),
		metadataSpace:     parseSpaceMapRoot(block[sbMetadataSpace:]),
	}
	copy(s.UUID[:], block[sbUUID:])
	if incompat := le.Uint32(block[sbIncompatFlags:]); incompat != 0 {
		return Superblock{}, fmt.Errorf("superblock in block %d: incompatible features %#x, of which this program knows none: use the tools of the kernel that made the pool", nr, incompat)
	}
	return s, s.check(nr)
}

// check refuses values that the kernel would refuse, too.
func (s Superblock) check(nr uint64) error {
	switch {
	case s.Version == 0 || s.Version > maxVersion:
		return fmt.Errorf("superblock in block %d: version %d, this program reads 1 to %d", nr, s.Version, maxVersion)
	case s.MetadataBlockSize != BlockSize/512:
		return corrupt(nr, "superblock has metadata blocks of %d sectors, want %d", s.MetadataBlockSize, BlockSize/512)
	// 64 KiB to 1 GiB in steps of 64 KiB (DATA_DEV_BLOCK_SIZE_MIN_SECTORS, _MAX_SECTORS).
	case s.DataBlockSize < 128 || s.DataBlockSize > 1<<21 || s.DataBlockSize%128 != 0:
		return corrupt(nr, "superblock has data blocks of %d sectors, want a multiple of 128 up to %d", s.DataBlockSize, 1<<21)
	case s.HeldRoot >= maxBlocks, s.DataMappingRoot >= maxBlocks, s.DeviceDetailsRoot >= maxBlocks:
		return corrupt(nr, "superblock has a root beyond the largest metadata device")
	case s.DataMappingRoot == 0 || s.DeviceDetailsRoot == 0:
		return corrupt(nr, "superblock has a tree at block 0, where the superblock lies")
	}
	return nil
}
