package setup

import (
	"fmt"

	"github.com/varve-project/varve/devmapper/pool"
)

// Sizes in bytes.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// The kernel's limits (Documentation/admin-guide/device-mapper/
// thin-provisioning.rst; THIN_METADATA_MAX_SECTORS in dm-thin-metadata.h).
const (
	minChunk    = 64 * kib
	maxChunk    = gib
	minMetadata = 2 * mib
	// maxMetadata is LVM's limit, 15.81 GiB, a little below the kernel's
	// 255 index entries of 16,384 blocks of 4 KiB.
	maxMetadata = 15*gib + 828*mib
)

// Our own taste.
const (
	// defaultMetadata is the least that is made when nobody asks for less.
	defaultMetadata = 16 * mib
	// minData is the least data space that is a pool and not a mistake: a
	// base file system and one small image.
	minData = 256 * mib
	// reservePercent of the data stays free in a volume group for the
	// guardian: a full metadata volume can be extended at once.
	reservePercent = 5
)

// Sizes are what a pool is made with.
type Sizes struct {
	Chunk    uint64 `json:"chunkBytes"`
	Metadata uint64 `json:"metadataBytes"`
	// Reasons say where each number comes from, for people.
	Reasons []string `json:"reasons"`
}

// Choose takes the sizes for a pool on total bytes of data space. Chunk and
// metadata that are not 0 are taken as they are, if the kernel accepts them.
func Choose(total, chunk, metadata uint64) (Sizes, error) {
	var s Sizes
	if err := s.chooseChunk(total, chunk); err != nil {
		return Sizes{}, err
	}
	if err := s.chooseMetadata(total, metadata); err != nil {
		return Sizes{}, err
	}
	s.because("catalog %s: a record of a snapshot is under 1 KiB, and it cannot fill up before the metadata does", Bytes(pool.CatalogBytes))
	return s, nil
}

func (s *Sizes) because(format string, args ...any) {
	s.Reasons = append(s.Reasons, fmt.Sprintf(format, args...))
}

func (s *Sizes) chooseChunk(total, chunk uint64) error {
	if chunk == 0 {
		s.Chunk = minChunk
		for estimate(total, s.Chunk) > maxMetadata && s.Chunk < maxChunk {
			s.Chunk *= 2
		}
		if s.Chunk == minChunk {
			s.because("chunk size %s: the kernel's advice where there are many snapshots, and every layer is one; a first write to a shared chunk copies it whole", Bytes(s.Chunk))
		} else {
			s.because("chunk size %s: the smallest with which %s of data need no more metadata than the %s that a pool can have", Bytes(s.Chunk), Bytes(total), Bytes(maxMetadata))
		}
		return nil
	}
	switch {
	case chunk < minChunk || chunk > maxChunk:
		return fmt.Errorf("--chunk-size %s: the kernel takes %s to %s", Bytes(chunk), Bytes(minChunk), Bytes(maxChunk))
	case chunk%minChunk != 0:
		return fmt.Errorf("--chunk-size %s: the kernel takes multiples of %s only", Bytes(chunk), Bytes(minChunk))
	case kernelEstimate(total, chunk) > maxMetadata:
		return fmt.Errorf("--chunk-size %s: %s of data would need %s of metadata, and a pool can have %s; take a larger chunk, or leave the choice to us",
			Bytes(chunk), Bytes(total), Bytes(kernelEstimate(total, chunk)), Bytes(maxMetadata))
	}
	s.Chunk = chunk
	s.because("chunk size %s: as asked", Bytes(chunk))
	return nil
}

func (s *Sizes) chooseMetadata(total, metadata uint64) error {
	if metadata == 0 {
		s.Metadata = min(max(roundUp(estimate(total, s.Chunk), 4*mib), defaultMetadata), maxMetadata)
		s.because("metadata %s: twice the kernel's estimate of 48 bytes per chunk, since each layer is a snapshot with tree nodes of its own; at least %s",
			Bytes(s.Metadata), Bytes(defaultMetadata))
		return nil
	}
	least := max(kernelEstimate(total, s.Chunk), minMetadata)
	switch {
	case metadata > maxMetadata:
		return fmt.Errorf("--metadata-size %s: a pool can use %s at most", Bytes(metadata), Bytes(maxMetadata))
	case metadata < least:
		return fmt.Errorf("--metadata-size %s: the kernel asks for 48 bytes per chunk of %s, at least %s: give %s or more, or leave the choice to us",
			Bytes(metadata), Bytes(s.Chunk), Bytes(minMetadata), Bytes(least))
	}
	s.Metadata = metadata
	s.because("metadata %s: as asked (the kernel's estimate is %s)", Bytes(metadata), Bytes(least))
	return nil
}

// kernelEstimate is the formula of the kernel's documentation.
func kernelEstimate(total, chunk uint64) uint64 {
	chunks := total / chunk
	return 48 * chunks
}

// estimate is ours: layers are snapshots, and each has nodes of its own.
func estimate(total, chunk uint64) uint64 { return 2 * kernelEstimate(total, chunk) }

func roundUp(n, unit uint64) uint64   { return (n + unit - 1) / unit * unit }
func roundDown(n, unit uint64) uint64 { return n / unit * unit }
