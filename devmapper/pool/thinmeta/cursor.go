package thinmeta

import "context"

// cursor stands at one item of a tree: an entry of a leaf, or a whole subtree
// that has not been looked into. It reads a subtree only when told to descend,
// so that two cursors can pass what their trees share.
type cursor struct {
	tree   tree
	levels []level // from the root down; empty past the end
	depth  int     // of the tree: nodes on the way to a leaf
	spare  [][]byte
}

type level struct {
	node   node
	at     int
	within bounds
}

// cursor begins at the root's first item.
func (t tree) cursor(ctx context.Context) (*cursor, error) {
	c := &cursor{tree: t}
	depth, err := t.measure(ctx)
	if err != nil {
		return nil, err
	}
	c.depth = depth
	root, err := t.read(ctx, t.root, anyKey, nil)
	if err != nil {
		return nil, err
	}
	if root.entries > 0 {
		err = c.push(root, anyKey)
	}
	return c, err
}

// measure returns the depth of the tree's first leaf.
func (t tree) measure(ctx context.Context) (int, error) {
	block := make([]byte, BlockSize)
	nr, within := t.root, anyKey
	for depth := 1; depth <= maxDepth; depth++ {
		n, err := t.read(ctx, nr, within, block)
		if err != nil || n.leaf {
			return depth, err
		}
		nr, within = n.value64(0), n.child(0, within)
	}
	return 0, corrupt(t.root, "tree is deeper than %d levels", maxDepth)
}

func (c *cursor) valid() bool { return len(c.levels) > 0 }

func (c *cursor) top() *level { return &c.levels[len(c.levels)-1] }

// atEntry tells whether the item is an entry of a leaf.
func (c *cursor) atEntry() bool { return c.top().node.leaf }

// key is the entry's, or the lower bound of the subtree's keys.
func (c *cursor) key() uint64 { l := c.top(); return l.node.key(l.at) }

// value is the entry's; it is valid until the cursor moves.
func (c *cursor) value() []byte { l := c.top(); return l.node.value(l.at) }

// subtree is the block of the subtree.
func (c *cursor) subtree() uint64 { l := c.top(); return l.node.value64(l.at) }

// height is how many nodes lie between the item and its entries: 0 for an
// entry.
func (c *cursor) height() int { return c.depth - len(c.levels) }

// next passes the item.
func (c *cursor) next() {
	for c.valid() {
		l := c.top()
		if l.at++; l.at < l.node.entries {
			return
		}
		c.spare = append(c.spare, l.node.block)
		c.levels = c.levels[:len(c.levels)-1]
	}
}

// descend looks into the subtree: the cursor stands at its first item then.
func (c *cursor) descend(ctx context.Context) error {
	l := c.top()
	within := l.node.child(l.at, l.within)
	var block []byte
	if last := len(c.spare) - 1; last >= 0 {
		block, c.spare = c.spare[last], c.spare[:last]
	}
	n, err := c.tree.read(ctx, c.subtree(), within, block)
	if err != nil {
		return err
	}
	return c.push(n, within)
}

func (c *cursor) push(n node, within bounds) error {
	c.levels = append(c.levels, level{node: n, within: within})
	if n.leaf != (len(c.levels) == c.depth) {
		return corrupt(n.nr, "tree node lies %d levels below its root, where the tree's first leaf lies %d", len(c.levels)-1, c.depth-1)
	}
	return nil
}
