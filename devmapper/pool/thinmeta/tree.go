package thinmeta

import (
	"context"
	"io"
)

// tree is one B-tree on the disk.
type tree struct {
	r         io.ReaderAt
	root      uint64
	valueSize int
}

// read reads and checks one node into block, nil for a new one.
func (t tree) read(ctx context.Context, nr uint64, within bounds, block []byte) (node, error) {
	if err := ctx.Err(); err != nil {
		return node{}, err
	}
	if block == nil {
		block = make([]byte, BlockSize)
	}
	if err := readBlock(t.r, nr, block); err != nil {
		return node{}, err
	}
	return parseNode(block, nr, t.valueSize, within, nr == t.root)
}

// lookup returns the value of key, nil when there is none.
func (t tree) lookup(ctx context.Context, key uint64) ([]byte, error) {
	nr, within := t.root, anyKey
	for range maxDepth {
		n, err := t.read(ctx, nr, within, nil)
		if err != nil {
			return nil, err
		}
		i := n.search(key)
		switch {
		case i < 0, n.leaf && n.key(i) != key:
			return nil, nil
		case n.leaf:
			return n.value(i), nil
		}
		nr, within = n.value64(i), n.child(i, within)
	}
	return nil, corrupt(t.root, "tree is deeper than %d levels", maxDepth)
}

// walk calls fn with every key and value in order. value is valid only during
// the call.
func (t tree) walk(ctx context.Context, fn func(key uint64, value []byte) error) error {
	c, err := t.cursor(ctx)
	if err != nil {
		return err
	}
	for c.valid() {
		if !c.atEntry() {
			if err := c.descend(ctx); err != nil {
				return err
			}
			continue
		}
		if err := fn(c.key(), c.value()); err != nil {
			return err
		}
		c.next()
	}
	return nil
}
