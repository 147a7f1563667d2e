package devmapper

import (
	"context"
	"sync"

	"github.com/varve-project/varve/devmapper/pool"
)

// flying are the thin ids that were taken and are in no record yet: a call is
// under way with them, and no audit may take them for orphans.
type flying struct {
	mu  sync.Mutex
	ids map[pool.ThinID]struct{}
}

func (f *flying) add(id pool.ThinID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids == nil {
		f.ids = map[pool.ThinID]struct{}{}
	}
	f.ids[id] = struct{}{}
}

func (f *flying) land(id pool.ThinID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ids, id)
}

func (f *flying) has(id pool.ThinID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.ids[id]
	return ok
}

// newID takes an id. It flies until its record is committed (landed) or its
// device is gone (discard).
func (d *Driver) newID(ctx context.Context) (pool.ThinID, error) {
	id, err := d.pool.NewID(ctx)
	if err != nil {
		return 0, err
	}
	d.flying.add(id)
	return id, nil
}

// owned tells whether a thin id belongs to a record or to a call under way.
// The order matters: a call lands its id after its record is committed.
func (d *Driver) owned(ctx context.Context) func(pool.ThinID) bool {
	var known map[pool.ThinID]owner
	return func(id pool.ThinID) bool {
		if _, ok := known[id]; ok || d.flying.has(id) {
			return true
		}
		// Read again for every id in doubt: its record may be a moment old.
		now, err := d.owners(ctx)
		if err != nil {
			d.log.WithError(err).Error("cannot read the records; nothing is taken for an orphan")
			return true
		}
		known = now
		_, ok := known[id]
		return ok
	}
}

// owner says which record names a thin id.
type owner struct {
	kind string // "snapshot", "template", "trash"
	name string
}

// owners are all ids that records name.
func (d *Driver) owners(ctx context.Context) (map[pool.ThinID]owner, error) {
	owners := map[pool.ThinID]owner{}
	err := d.store.Read(ctx, func(ctx context.Context) error {
		err := each(ctx, deviceBucket, func(key []byte, v device) error {
			owners[v.Thin] = owner{"snapshot", string(key)}
			return nil
		})
		if err != nil {
			return err
		}
		err = each(ctx, templateBucket, func(key []byte, v template) error {
			owners[v.Thin] = owner{"template", string(key)}
			return nil
		})
		if err != nil {
			return err
		}
		return each(ctx, trashBucket, func(key []byte, v refuse) error {
			id, err := parseThinKey(key)
			owners[id] = owner{"trash", v.Of}
			return err
		})
	})
	return owners, err
}
