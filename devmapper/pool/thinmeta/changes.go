package thinmeta

import (
	"context"
	"fmt"
)

// ChangeKind says how a stretch differs between two thin devices.
type ChangeKind int

const (
	// Changed blocks are mapped in both, to different data blocks.
	Changed ChangeKind = iota + 1
	// Added blocks are mapped in the newer device only.
	Added
	// Removed blocks are mapped in the older device only: discarded since.
	Removed
)

func (k ChangeKind) String() string {
	return map[ChangeKind]string{Changed: "changed", Added: "added", Removed: "removed"}[k]
}

// Change is a stretch of blocks that differ, in data blocks of the thin
// devices.
type Change struct {
	Virtual, Length uint64
	Kind            ChangeKind
}

// Changes calls fn with the stretches in which two thin devices of the pool
// differ, in order, each as long as it can be. Blocks differ when they are
// not the same block of the data device; what is in them is not compared, so
// a block that was rewritten with the same content counts as changed. What
// both devices share by whole subtrees, which is nearly all of a snapshot and
// its origin, is not read. Either order of age works; an error of fn ends the
// walk and is returned. errdefs.ErrNotFound when the pool lacks one of them.
func (m *Metadata) Changes(ctx context.Context, older, newer uint32, fn func(Change) error) error {
	wrap := func(err error) error {
		return fmt.Errorf("changes from thin device %d to %d: %w", older, newer, err)
	}
	var cursors [2]*cursor
	for i, id := range []uint32{older, newer} {
		t, err := m.mappings(ctx, id)
		if err != nil {
			return wrap(fmt.Errorf("thin device %d: %w", id, err))
		}
		if cursors[i], err = t.cursor(ctx); err != nil {
			return wrap(err)
		}
		// Equal roots: nothing to walk. Two cursors would notice only at
		// their roots' children.
		if i == 1 && cursors[0].tree.root == t.root {
			return nil
		}
	}
	d := diff{older: cursors[0], newer: cursors[1], fn: fn}
	if err := d.run(ctx); err != nil {
		return wrap(err)
	}
	return nil
}

// diff walks two trees side by side.
type diff struct {
	older, newer *cursor
	fn           func(Change) error
	pending      Change
}

func (d *diff) run(ctx context.Context) error {
	for d.older.valid() || d.newer.valid() {
		if err := d.step(ctx); err != nil {
			return err
		}
	}
	return d.flush()
}

// step passes one item, or looks into one. The item with the lower key goes
// first; of two subtrees that begin together the taller is looked into, since
// the lower one may be found whole inside it.
func (d *diff) step(ctx context.Context) error {
	o, n := d.older, d.newer
	switch {
	case !n.valid():
		return d.pass(ctx, o, Removed)
	case !o.valid():
		return d.pass(ctx, n, Added)
	case !o.atEntry() && !n.atEntry() && o.subtree() == n.subtree():
		o.next()
		n.next()
		return nil
	case o.key() < n.key():
		return d.pass(ctx, o, Removed)
	case n.key() < o.key():
		return d.pass(ctx, n, Added)
	case o.height() > n.height():
		return o.descend(ctx)
	case !n.atEntry():
		return n.descend(ctx)
	}
	return d.both()
}

// pass takes the item of the cursor whose key is lower.
func (d *diff) pass(ctx context.Context, c *cursor, kind ChangeKind) error {
	if !c.atEntry() {
		return c.descend(ctx)
	}
	err := d.emit(c.key(), kind)
	c.next()
	return err
}

// both compares two entries of one key.
func (d *diff) both() error {
	var err error
	key := d.older.key()
	was, _ := unpackBlockTime(d.older.value())
	is, _ := unpackBlockTime(d.newer.value())
	if was != is {
		err = d.emit(key, Changed)
	}
	d.older.next()
	d.newer.next()
	return err
}

func (d *diff) emit(virtual uint64, kind ChangeKind) error {
	if p := &d.pending; p.Length > 0 && p.Kind == kind && virtual == p.Virtual+p.Length {
		p.Length++
		return nil
	}
	err := d.flush()
	d.pending = Change{Virtual: virtual, Length: 1, Kind: kind}
	return err
}

func (d *diff) flush() error {
	done := d.pending
	d.pending = Change{}
	if done.Length == 0 {
		return nil
	}
	return d.fn(done)
}
