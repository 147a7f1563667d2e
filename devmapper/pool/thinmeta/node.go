package thinmeta

import "encoding/binary"

const (
	nodeSalt       = 121107
	nodeInternal   = 1
	nodeLeaf       = 2
	nodeHeaderSize = 32

	// maxDepth is far above what a device of maxBlocks can need: a node other
	// than the root is filled by a third at least, with 84 entries.
	maxDepth = 16
)

// node is one checked node of a B-tree, which fills a block: a header, then
// room for max keys, then for as many values.
type node struct {
	nr        uint64
	leaf      bool
	entries   int
	max       int
	valueSize int
	block     []byte
}

// bounds are the keys that a node may have, from its parent: low <= key < high,
// with no upper bound when open.
type bounds struct {
	low, high uint64
	open      bool
}

var anyKey = bounds{open: true}

// parseNode checks the node in a block read from nr. A leaf must have values
// of valueSize bytes. The node keeps block.
func parseNode(block []byte, nr uint64, valueSize int, within bounds, root bool) (node, error) {
	if err := checkBlock(block, nr, nodeSalt, "tree node"); err != nil {
		return node{}, err
	}
	le := binary.LittleEndian
	flags, entries, room, size := le.Uint32(block[4:]), le.Uint32(block[16:]), le.Uint32(block[20:]), le.Uint32(block[24:])
	n := node{nr: nr, leaf: flags == nodeLeaf, block: block}
	if flags != nodeLeaf && flags != nodeInternal {
		return node{}, corrupt(nr, "tree node has flags %#x, neither leaf nor internal", flags)
	}
	if !n.leaf {
		valueSize = 8
	}
	if uint64(size) != uint64(valueSize) { //nolint:gosec // 8 or 24
		return node{}, corrupt(nr, "tree node has values of %d bytes, want %d", size, valueSize)
	}
	if most := uint32((BlockSize - nodeHeaderSize) / (8 + valueSize)); room > most { //nolint:gosec // small
		return node{}, corrupt(nr, "tree node has room for %d entries, a block has it for %d", room, most)
	}
	if entries > room {
		return node{}, corrupt(nr, "tree node has %d entries and room for %d", entries, room)
	}
	// Only an empty tree has an empty node, which is its root.
	if entries == 0 && (!root || !n.leaf) {
		return node{}, corrupt(nr, "tree node is empty")
	}
	n.entries, n.max, n.valueSize = int(entries), int(room), valueSize
	return n, n.checkKeys(within)
}

// checkKeys makes sure that keys ascend and lie within what the parent says.
// Since siblings' bounds do not overlap, no block is reached twice at a level
// of a tree, so no tree however knotted is walked for longer than it has keys.
func (n *node) checkKeys(within bounds) error {
	for i := range n.entries {
		key := n.key(i)
		if i > 0 && key <= n.key(i-1) {
			return corrupt(n.nr, "tree node has key %d after key %d", key, n.key(i-1))
		}
		if key < within.low || !within.open && key >= within.high {
			return corrupt(n.nr, "tree node has key %d, outside of what its parent says", key)
		}
	}
	return nil
}

func (n *node) key(i int) uint64 {
	return binary.LittleEndian.Uint64(n.block[nodeHeaderSize+8*i:])
}

// value is the ith value's bytes, which belong to the node.
func (n *node) value(i int) []byte {
	at := nodeHeaderSize + 8*n.max + n.valueSize*i
	return n.block[at : at+n.valueSize]
}

func (n *node) value64(i int) uint64 { return binary.LittleEndian.Uint64(n.value(i)) }

// child returns the bounds that an internal node sets for its ith child.
// within are its own.
func (n *node) child(i int, within bounds) bounds {
	b := bounds{low: n.key(i), high: within.high, open: within.open}
	if i+1 < n.entries {
		b.high, b.open = n.key(i+1), false
	}
	return b
}

// search returns the last entry whose key is at most key, -1 when there is
// none.
func (n *node) search(key uint64) int {
	low, high := 0, n.entries
	for low < high {
		if mid := (low + high) / 2; n.key(mid) <= key {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low - 1
}
