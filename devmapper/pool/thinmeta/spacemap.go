package thinmeta

import "encoding/binary"

// spaceMapRoot is the head of struct disk_sm_root; its trees (the reference
// counts) are not read here.
type spaceMapRoot struct{ blocks, allocated uint64 }

func parseSpaceMapRoot(b []byte) spaceMapRoot {
	le := binary.LittleEndian
	return spaceMapRoot{blocks: le.Uint64(b), allocated: le.Uint64(b[8:])}
}

// Space is how much of one of a pool's two devices is in use, in blocks of
// that device.
type Space struct{ Used, Total uint64 }

// Usage returns the use of data blocks (of Superblock.DataBlockSize) and of
// metadata blocks (of BlockSize) at the last commit. A metadata snapshot has
// none: ok is false then. The kernel reports up to 4 MiB more of the metadata
// as used, which it keeps back for commits.
func (m *Metadata) Usage() (data, metadata Space, ok bool) {
	d, s := m.super.dataSpace, m.super.metadataSpace
	return Space{d.allocated, d.blocks}, Space{s.allocated, s.blocks}, s.blocks != 0
}
