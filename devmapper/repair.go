package devmapper

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// repair makes pool and records agree again after whatever ended the last
// process: devices that no record names are deleted, deletions go on, the
// devices of committed snapshots are deactivated. What the pool has lost is
// reported and never invented.
//
// Devices that a crash left suspended have been resumed by then: that is the
// first thing the pool does.
func (d *Driver) repair(ctx context.Context) error {
	if err := d.load(ctx); err != nil {
		return err
	}
	reclaimed, err := d.pool.Reclaim(ctx, d.owned(ctx))
	if err != nil {
		// No reason not to serve: what stays is reported below.
		d.log.WithError(err).Warn("cannot delete every thin device that no record names; varve-devmapper audit --fix tries again")
	}
	for _, id := range reclaimed {
		d.log.WithField("thin", id).Info("deleted a thin device that no record names; a call was killed half way")
	}
	thins, err := d.thins(ctx)
	if err != nil {
		return err
	}
	if err := d.forget(ctx, thins); err != nil {
		return err
	}
	if err := d.calm(ctx); err != nil {
		return err
	}
	list, err := d.compare(ctx, thins)
	if err != nil {
		return err
	}
	for _, f := range list {
		entry := d.log.WithField("finding", f.ID).WithField("object", f.Object)
		if f.Severity == finding.Error {
			entry.WithField("remedy", f.Remedy).Error(f.Text)
		} else {
			entry.Warn(f.Text)
		}
	}
	return nil
}

// load reads the templates and what is still to be deleted.
func (d *Driver) load(ctx context.Context) error {
	return d.store.Read(ctx, func(ctx context.Context) error {
		err := each(ctx, templateBucket, func(key []byte, v template) error {
			d.templates.add(string(key), v, false)
			return nil
		})
		if err != nil {
			return err
		}
		return each(ctx, trashBucket, func(key []byte, v refuse) error {
			id, err := parseThinKey(key)
			if err == nil {
				d.trash.add(id, v, true)
			}
			return err
		})
	})
}

// thins are the thin devices that the pool has.
func (d *Driver) thins(ctx context.Context) (map[pool.ThinID]bool, error) {
	list, err := d.pool.Thins(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the pool's thin devices: %w", err)
	}
	have := make(map[pool.ThinID]bool, len(list))
	for _, t := range list {
		have[t.ID] = true
	}
	return have, nil
}

// forget drops the templates whose device the pool has lost: they can be made
// again, and snapshots of them have what they need.
func (d *Driver) forget(ctx context.Context, thins map[pool.ThinID]bool) error {
	for key, v := range d.templates.all() {
		if thins[v.Thin] {
			continue
		}
		d.log.WithField("template", key).Warn("the pool has lost a template's device; it is made again when it is needed")
		err := d.store.Do(ctx, metadata.Write{
			Apply: func(ctx context.Context) error { return drop(ctx, templateBucket, []byte(key)) },
		})
		if err != nil {
			return err
		}
		d.templates.remove(key)
	}
	return nil
}

// calm deactivates what a crash left active and nobody is to use: the devices
// of committed snapshots and of templates.
func (d *Driver) calm(ctx context.Context) error {
	var ids []pool.ThinID
	for _, v := range d.templates.all() {
		ids = append(ids, v.Thin)
	}
	err := d.store.Read(ctx, func(ctx context.Context) error {
		err := storage.WalkInfo(ctx, func(ctx context.Context, info snapshots.Info) error {
			id, _, _, err := storage.GetInfo(ctx, info.Name)
			if err != nil {
				return err
			}
			dev, err := getDevice(ctx, id)
			if err == nil {
				ids = append(ids, dev.Thin)
			}
			return nil // one without a device is audit's to report
		}, "kind==committed")
		if errdefs.IsNotFound(err) {
			return nil // no snapshot ever
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		active, _, _, err := d.pool.Active(ctx, id)
		if err != nil {
			return err
		}
		if active {
			if err := d.pool.Deactivate(ctx, id, true); err != nil {
				return err
			}
		}
	}
	return nil
}
