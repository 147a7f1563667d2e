package thinmeta

import (
	"errors"
	"fmt"
	"io"
)

// ErrNoSnapshot is returned by Held when no metadata snapshot is reserved.
var ErrNoSnapshot = errors.New("the pool holds no metadata snapshot: send it the message reserve_metadata_snap first")

// Metadata is one consistent state of a pool's metadata. It may be used by
// several goroutines at once if its reader may.
type Metadata struct {
	r     io.ReaderAt
	super Superblock
}

// Open reads and checks the superblock in block 0. Of an active pool use
// nothing of the result but Superblock, Usage and Held (see the package
// comment). r stays the caller's to close, after the last use of the result;
// of a block device it must be one that OpenDevice made.
func Open(r io.ReaderAt) (*Metadata, error) {
	// A reader beside a running kernel may see a half-written superblock. It
	// is written at commits, rarely; three torn reads in a row are no chance.
	m, err := openAt(r, 0)
	for try := 0; try < 2 && errors.Is(err, ErrCorrupt); try++ {
		m, err = openAt(r, 0)
	}
	return m, err
}

func openAt(r io.ReaderAt, nr uint64) (*Metadata, error) {
	block := make([]byte, BlockSize)
	if err := readBlock(r, nr, block); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	super, err := parseSuperblock(block, nr)
	if err != nil {
		return nil, err
	}
	return &Metadata{r: r, super: super}, nil
}

// Held opens the metadata snapshot that the pool holds at this moment:
// ErrNoSnapshot when there is none. The result is good until the snapshot is
// released; read after that, it is garbage or ErrCorrupt.
func (m *Metadata) Held() (*Metadata, error) {
	if m.super.HeldRoot == 0 {
		return nil, ErrNoSnapshot
	}
	held, err := openAt(m.r, m.super.HeldRoot)
	if err != nil {
		return nil, fmt.Errorf("metadata snapshot: %w", err)
	}
	return held, nil
}

// Superblock returns what Open read.
func (m *Metadata) Superblock() Superblock { return m.super }

// readBlock fills block from the block nr.
func readBlock(r io.ReaderAt, nr uint64, block []byte) error {
	if nr >= maxBlocks {
		return corrupt(nr, "lies beyond the largest metadata device")
	}
	n, err := r.ReadAt(block, int64(nr)*BlockSize) //nolint:gosec // below maxBlocks
	if n == len(block) {
		return nil // a ReaderAt may say EOF along with the last byte
	}
	if errors.Is(err, io.EOF) {
		return corrupt(nr, "lies beyond the end of the metadata device")
	}
	return fmt.Errorf("read metadata block %d: %w", nr, err)
}
