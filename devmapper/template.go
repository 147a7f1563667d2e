package devmapper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/mount"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// templates are the formatted devices, by format.Spec.Key.
type templates struct {
	mu     sync.Mutex
	known  map[string]*kept
	clock  uint64
	making singleflight.Group
}

// kept is one template in memory.
type kept struct {
	template
	users int    // calls that make a snapshot of it right now
	used  uint64 // the clock at the last use
	fresh bool   // made, and not used yet: somebody waits for it
}

// take returns the template of a spec that is there, and keeps it from being
// given up until release is called.
func (t *templates) take(key string) (device, func(), bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.known[key]
	if !ok {
		return device{}, nil, false
	}
	t.clock++
	k.users, k.used, k.fresh = k.users+1, t.clock, false
	return k.device, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		k.users--
	}, true
}

func (t *templates) add(key string, v template, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	t.known[key] = &kept{template: v, used: t.clock, fresh: fresh}
}

// surplus takes the templates that were not used for longest out of those
// known, so that spare ones are left besides the one called always.
func (t *templates) surplus(spare int, always string) map[string]template {
	t.mu.Lock()
	defer t.mu.Unlock()
	var idle []string
	for key, k := range t.known {
		if key != always && k.users == 0 && !k.fresh {
			idle = append(idle, key)
		}
	}
	slices.SortFunc(idle, func(a, b string) int { return int(int64(t.known[b].used) - int64(t.known[a].used)) })
	out := map[string]template{}
	for _, key := range idle[min(spare, len(idle)):] {
		out[key] = t.known[key].template
		delete(t.known, key)
	}
	return out
}

// base returns the template of a file system, which is made first where there
// is none: once, however many ask. A caller who gives up does not end it.
func (d *Driver) base(ctx context.Context, fsType string, bytes int64) (device, func(), error) {
	s := format.Spec{FSType: fsType, Bytes: bytes, Options: d.config.mkfs(fsType)}
	for {
		if v, release, ok := d.templates.take(s.Key()); ok {
			return v, release, nil
		}
		made := d.templates.making.DoChan(s.Key(), func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(d.config.MkfsTimeout))
			defer cancel()
			return nil, d.makeTemplate(ctx, s)
		})
		select {
		case r := <-made:
			if r.Err != nil {
				return device{}, nil, fmt.Errorf("template %s: %w", s.Key(), r.Err)
			}
		case <-ctx.Done():
			return device{}, nil, fmt.Errorf("template %s is being made, ask again: %w", s.Key(), ctx.Err())
		}
	}
}

// makeTemplate makes a template, durable, and records it. A crash half way
// leaves a thin device without a record, which the next start deletes.
func (d *Driver) makeTemplate(ctx context.Context, s format.Spec) (err error) {
	if _, release, ok := d.templates.take(s.Key()); ok { // made since we looked
		release()
		return nil
	}
	id, err := d.newID(ctx)
	if err != nil {
		return err
	}
	v := template{Spec: s.Key(), device: device{Thin: id, FSType: s.FSType, Bytes: s.Bytes}}
	defer func() {
		if err != nil {
			d.discard(id, "template "+s.Key())
		}
	}()
	failpoint.Hit("devmapper.template.create.before")
	if err := d.pool.Create(ctx, id); err != nil {
		return err
	}
	failpoint.Hit("devmapper.template.create.after")
	path, err := d.pool.Activate(ctx, id, pool.Activation{Bytes: uint64(s.Bytes)})
	if err != nil {
		return err
	}
	failpoint.Hit("devmapper.template.mkfs.before")
	if err := format.Make(ctx, s, path); err != nil {
		return err
	}
	failpoint.Hit("devmapper.template.mkfs.after")
	if err := finish(path, &v.device); err != nil {
		return err
	}
	if err := d.pool.Deactivate(ctx, id, true); err != nil {
		return err
	}
	failpoint.Hit("devmapper.template.metadata.before")
	err = d.store.Do(ctx, metadata.Write{
		Apply: func(ctx context.Context) error { return put(ctx, templateBucket, []byte(s.Key()), v) },
		Done:  func() { d.flying.land(id) },
	})
	if err != nil {
		return err
	}
	failpoint.Hit("devmapper.template.metadata.after")
	d.templates.add(s.Key(), v, true)
	d.retire(context.WithoutCancel(ctx))
	return nil
}

// finish takes lost+found out of a new file system, for no image has one,
// makes all durable, and measures it.
func finish(path string, v *device) error {
	t, err := open(path, v.FSType)
	if err != nil {
		return err
	}
	err = unix.Rmdir(filepath.Join(t.Path(), "lost+found"))
	if v.FSType != mount.Ext4 && errors.Is(err, unix.ENOENT) {
		err = nil
	}
	mounted, statErr := statfs(t, v.FSType)
	if err := errors.Join(err, statErr, t.Close()); err != nil {
		return err
	}
	if err := flush(path); err != nil {
		return err
	}
	s, held, err := onDisk(path, v.FSType)
	if err != nil {
		return err
	}
	v.Held, v.Hidden = held, mounted.Bytes-held.Bytes
	if s.Dirty {
		return fmt.Errorf("%s has a journal to replay right after its unmount", path)
	}
	return nil
}

// retire gives up the templates that are too many. Snapshots of them do not
// need them.
func (d *Driver) retire(ctx context.Context) {
	always := format.Spec{FSType: d.config.FileSystem, Bytes: int64(d.config.BaseSize), Options: d.config.mkfs(d.config.FileSystem)}
	gone := d.templates.surplus(d.config.SpareTemplates, always.Key())
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		v := gone[key]
		err := d.store.Do(ctx, metadata.Write{
			Apply: func(ctx context.Context) error {
				return errors.Join(drop(ctx, templateBucket, []byte(key)), put(ctx, trashBucket, thinKey(v.Thin), refuse{Of: "template " + key}))
			},
			Done: func() { d.trash.add(v.Thin, refuse{Of: "template " + key}, true) },
		})
		if err != nil {
			d.log.WithError(err).WithField("template", key).Warn("cannot give up a template; it stays until the next start")
		}
	}
}

// all returns the templates that are known.
func (t *templates) all() map[string]template {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]template, len(t.known))
	for key, k := range t.known {
		out[key] = k.template
	}
	return out
}

func (t *templates) remove(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, key)
}
