package thinmeta_test

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

const blockSize = thinmeta.BlockSize

// Salts of the checksums, by kind of block.
const (
	superSalt = 160774
	nodeSalt  = 121107
)

// image is metadata made in memory, by the tests' own writer, so that trees
// can be given any shape: also those that only a kernel makes, with subtrees
// that several devices share, and those that none would.
type image struct {
	blocks [][]byte
	reads  int
	seen   map[uint64]int // reads by block
}

func newImage() *image {
	im := &image{seen: map[uint64]int{}}
	super := im.block(im.alloc())
	le := binary.LittleEndian
	le.PutUint64(super[32:], 27022010)
	le.PutUint32(super[40:], 2)    // version
	le.PutUint32(super[336:], 128) // data block size, sectors
	le.PutUint32(super[340:], 8)   // metadata block size, sectors
	im.seal(0, superSalt)
	return im
}

func (im *image) alloc() uint64 {
	im.blocks = append(im.blocks, make([]byte, blockSize))
	nr := uint64(len(im.blocks) - 1)
	binary.LittleEndian.PutUint64(im.blocks[nr][8:], nr)
	return nr
}

func (im *image) block(nr uint64) []byte { return im.blocks[nr] }

func (im *image) seal(nr uint64, salt uint32) {
	b := im.blocks[nr]
	sum := ^crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli)) ^ salt
	binary.LittleEndian.PutUint32(b, sum)
}

// put sets a field of 8 bytes in a block and seals it.
func (im *image) put(nr uint64, offset int, v uint64, salt uint32) {
	binary.LittleEndian.PutUint64(im.blocks[nr][offset:], v)
	im.seal(nr, salt)
}

func (im *image) put32(nr uint64, offset int, v, salt uint32) {
	binary.LittleEndian.PutUint32(im.blocks[nr][offset:], v)
	im.seal(nr, salt)
}

func (im *image) ReadAt(p []byte, offset int64) (int, error) {
	im.reads++
	if im.seen != nil {
		im.seen[uint64(offset/blockSize)]++
	}
	if offset/blockSize >= int64(len(im.blocks)) {
		return 0, io.EOF
	}
	return copy(p, im.blocks[offset/blockSize]), nil
}

// entry is a key with its value's bytes.
type entry struct {
	key   uint64
	value []byte
}

func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func maxEntries(size int) int { return (blockSize - 32) / (8 + size) / 3 * 3 }

// writeNode fills block nr with a node.
func (im *image) writeNode(nr uint64, leaf bool, entries []entry, size int) {
	le := binary.LittleEndian
	b := im.blocks[nr]
	clear(b)
	flags := uint32(1)
	if leaf {
		flags = 2
	}
	room := maxEntries(size)
	le.PutUint32(b[4:], flags)
	le.PutUint64(b[8:], nr)
	le.PutUint32(b[16:], uint32(len(entries)))
	le.PutUint32(b[20:], uint32(room))
	le.PutUint32(b[24:], uint32(size))
	for i, e := range entries {
		le.PutUint64(b[32+8*i:], e.key)
		copy(b[32+8*room+size*i:][:size], e.value)
	}
	im.seal(nr, nodeSalt)
}

// readNode is the reverse.
func (im *image) readNode(nr uint64) (leaf bool, entries []entry, size int) {
	le := binary.LittleEndian
	b := im.blocks[nr]
	size = int(le.Uint32(b[24:]))
	room := int(le.Uint32(b[20:]))
	for i := range int(le.Uint32(b[16:])) {
		entries = append(entries, entry{le.Uint64(b[32+8*i:]), append([]byte(nil), b[32+8*room+size*i:][:size]...)})
	}
	return le.Uint32(b[4:]) == 2, entries, size
}

// tree writes a tree with fill entries to a node and returns its root.
func (im *image) tree(entries []entry, size, fill int) uint64 {
	leaf := true
	for {
		var upper []entry
		for first := 0; first == 0 || first < len(entries); first += fill {
			part := entries[first:min(first+fill, len(entries))]
			nr := im.alloc()
			im.writeNode(nr, leaf, part, size)
			e := entry{value: u64(nr)}
			if len(part) > 0 {
				e.key = part[0].key
			}
			upper = append(upper, e)
		}
		if len(upper) == 1 {
			return binary.LittleEndian.Uint64(upper[0].value)
		}
		entries, size, leaf = upper, 8, false
	}
}

// edit returns the root of a copy of the tree in which key has the value, or
// is gone with nil. As in the kernel all nodes beside the way are shared. The
// leaf must have room, and keep an entry.
func (im *image) edit(t testing.TB, root, key uint64, value []byte) uint64 {
	t.Helper()
	leaf, entries, size := im.readNode(root)
	at := len(entries)
	for at > 0 && entries[at-1].key > key {
		at--
	}
	at-- // the last entry not above key
	switch {
	case !leaf:
		at = max(at, 0)
		child := im.edit(t, binary.LittleEndian.Uint64(entries[at].value), key, value)
		entries[at] = entry{min(entries[at].key, key), u64(child)}
	case at >= 0 && entries[at].key == key && value == nil:
		entries = append(entries[:at], entries[at+1:]...)
	case at >= 0 && entries[at].key == key:
		entries[at].value = value
	case value != nil:
		entries = append(entries[:at+1], append([]entry{{key, value}}, entries[at+1:]...)...)
	}
	if len(entries) == 0 || len(entries) > maxEntries(size) {
		t.Fatalf("edit: %d entries in a node", len(entries))
	}
	nr := im.alloc()
	im.writeNode(nr, leaf, entries, size)
	return nr
}

// mapping is a value of a mapping tree.
func mapping(data uint64, time uint32) []byte { return u64(data<<24 | uint64(time)) }

func details(mapped, transaction uint64, created, snapped uint32) []byte {
	b := append(u64(mapped), u64(transaction)...)
	b = binary.LittleEndian.AppendUint32(b, created)
	return binary.LittleEndian.AppendUint32(b, snapped)
}

// devices points the superblock at trees with these devices.
func (im *image) devices(roots map[uint32]uint64) {
	var upper, about []entry
	for id := range uint32(1 << 10) {
		if root, ok := roots[id]; ok {
			upper = append(upper, entry{uint64(id), u64(root)})
			about = append(about, entry{uint64(id), details(0, 0, 0, 0)})
		}
	}
	im.put(0, 320, im.tree(upper, 8, maxEntries(8)), superSalt)
	im.put(0, 328, im.tree(about, 24, maxEntries(24)), superSalt)
}

// hold reserves a metadata snapshot as the kernel does.
func (im *image) hold() uint64 {
	nr := im.alloc()
	copy(im.blocks[nr][16:], im.blocks[0][16:])
	clear(im.blocks[nr][64:320])
	im.seal(nr, superSalt)
	im.put(0, 56, nr, superSalt)
	return nr
}
