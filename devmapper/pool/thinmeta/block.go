package thinmeta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// BlockSize is the size in bytes of every block of the metadata.
const BlockSize = 4096

// ErrCorrupt is wrapped by the errors about metadata that cannot be right.
var ErrCorrupt = errors.New("thin pool metadata is damaged")

func corrupt(nr uint64, format string, args ...any) error {
	return fmt.Errorf("%w: block %d: %s", ErrCorrupt, nr, fmt.Sprintf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is dm_bm_checksum: a CRC-32C that is not inverted at its end, over
// everything behind the checksum itself, mixed with a salt per kind of block.
func checksum(block []byte, salt uint32) uint32 {
	return ^crc32.Checksum(block[4:], castagnoli) ^ salt
}

// checkBlock checks what blocks of all kinds begin with: a checksum, and
// after four more bytes the block's own number.
func checkBlock(block []byte, nr uint64, salt uint32, kind string) error {
	le := binary.LittleEndian
	if got, want := le.Uint32(block), checksum(block, salt); got != want {
		return corrupt(nr, "%s has checksum %#08x, want %#08x", kind, got, want)
	}
	if own := le.Uint64(block[8:]); own != nr {
		return corrupt(nr, "%s says that it belongs to block %d", kind, own)
	}
	return nil
}
