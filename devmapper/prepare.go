package devmapper

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/snapshotter/limits"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Prepare makes an active snapshot; the mount is the caller's to make.
func (d *Driver) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	m, err := d.create(ctx, snapshots.KindActive, key, parent, opts)
	if err != nil {
		return nil, fmt.Errorf("prepare snapshot %q: %w", key, err)
	}
	return m, nil
}

// View makes a read-only snapshot, on a thin device of its own.
func (d *Driver) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	m, err := d.create(ctx, snapshots.KindView, key, parent, opts)
	if err != nil {
		return nil, fmt.Errorf("view snapshot %q: %w", key, err)
	}
	return m, nil
}

// creation is one Prepare or View on its way.
type creation struct {
	kind   snapshots.Kind
	key    string
	name   string // of the parent
	info   snapshots.Info
	parent parent
	device device
}

func (d *Driver) create(ctx context.Context, kind snapshots.Kind, key, name string, opts []snapshots.Opt) ([]mount.Mount, error) {
	c := &creation{kind: kind, key: key, name: name}
	if err := limits.Key("key", key); err != nil {
		return nil, err
	}
	info, request, err := d.gather(opts)
	if err != nil {
		return nil, err
	}
	c.info = info
	release, err := d.keys.take(ctx, key)
	if err != nil {
		return nil, err
	}
	defer release()
	err = d.store.Read(ctx, func(ctx context.Context) (err error) {
		c.parent, err = look(ctx, key, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := d.pool.Admit(); err != nil {
		return nil, err
	}
	path, err := d.makeDevice(ctx, c, request)
	if err != nil {
		return nil, err
	}
	failpoint.Hit("devmapper.prepare.metadata.before")
	// Whoever asked may have gone: the answer must be certain all the same,
	// for it decides what happens to the device.
	err = d.store.Do(context.WithoutCancel(ctx), metadata.Write{
		Check: c.check,
		Apply: c.apply,
		Done:  func() { d.flying.land(c.device.Thin) },
	})
	if err != nil {
		d.discard(c.device.Thin, key)
		return nil, err
	}
	failpoint.Hit("devmapper.prepare.metadata.after")
	return spec{kind: kind, path: path, fsType: c.device.FSType, ids: request.IDs, config: d.config}.mounts(), nil
}

// makeDevice makes the thin device of a creation, active and as large as it
// is to be. Nothing is left of it after an error.
func (d *Driver) makeDevice(ctx context.Context, c *creation, r request) (path string, err error) {
	fsType := d.config.FileSystem
	if c.name != "" {
		fsType = c.parent.device.FSType
		if err := r.mustBe(fsType, fmt.Sprintf("the parent %q", c.name)); err != nil {
			return "", err
		}
	} else if r.fsType != "" {
		fsType = r.fsType
	}
	bytes, err := d.size(c.kind, r, fsType, c.parent.device.Bytes)
	if err != nil {
		return "", err
	}
	origin := c.parent.device
	if c.name == "" {
		base, release, err := d.base(ctx, fsType, bytes)
		if err != nil {
			return "", err
		}
		defer release()
		origin = base
	}
	id, err := d.newID(ctx)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			d.discard(id, c.key)
		}
	}()
	c.device = device{Thin: id, FSType: fsType, Bytes: bytes, Growing: origin.Growing, Base: origin.Held, Hidden: origin.Hidden}
	failpoint.Hit("devmapper.prepare.snapshot.before")
	err = d.pool.Snapshot(ctx, id, origin.Thin)
	if errdefs.IsNotFound(err) && c.name != "" {
		// Removed since we looked, or lost by the pool.
		return "", fmt.Errorf("parent %q: %w", c.name, err)
	}
	if err != nil {
		return "", err
	}
	failpoint.Hit("devmapper.prepare.snapshot.after")
	failpoint.Hit("devmapper.prepare.activate.before")
	if path, err = d.pool.Activate(ctx, id, pool.Activation{Bytes: uint64(bytes)}); err != nil {
		return "", err
	}
	failpoint.Hit("devmapper.prepare.activate.after")
	if c.kind == snapshots.KindActive && (bytes > origin.Bytes || origin.Growing) {
		if c.device, err = growNew(path, c.device); err != nil {
			return "", err
		}
	}
	return path, nil
}

// check looks once more: the parent may have gone, and another of its name
// have come, since its device was copied.
func (c *creation) check(ctx context.Context) error {
	p, err := look(ctx, c.key, c.name)
	if err != nil {
		return err
	}
	if p.id != c.parent.id {
		return fmt.Errorf("parent %q was removed and made anew meanwhile; try again: %w", c.name, errdefs.ErrUnavailable)
	}
	return nil
}

func (c *creation) apply(ctx context.Context) error {
	made, err := storage.CreateSnapshot(ctx, c.kind, c.key, c.name, func(i *snapshots.Info) error {
		i.Labels = c.info.Labels
		return nil
	})
	if err != nil {
		return err
	}
	return put(ctx, deviceBucket, []byte(made.ID), c.device)
}

// Mounts answers for an active snapshot or a View what Prepare or View did,
// and activates its device where a reboot has left it inactive.
func (d *Driver) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	m, err := d.mounts(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("mounts of snapshot %q: %w", key, err)
	}
	return m, nil
}

func (d *Driver) mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	release, err := d.keys.take(ctx, key)
	if err != nil {
		return nil, err
	}
	defer release()
	var r metadata.Record
	var dev device
	err = d.store.Read(ctx, func(ctx context.Context) error {
		s, err := storage.GetSnapshot(ctx, key) // refuses committed ones
		if err != nil {
			return err
		}
		if _, r.Info, _, err = storage.GetInfo(ctx, key); err != nil {
			return err
		}
		dev, err = getDevice(ctx, s.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	request, err := d.parse(r.Info.Labels)
	if err != nil {
		return nil, err
	}
	failpoint.Hit("devmapper.mounts.activate.before")
	path, err := d.pool.Activate(ctx, dev.Thin, pool.Activation{Bytes: uint64(dev.Bytes)})
	if err != nil {
		return nil, err
	}
	failpoint.Hit("devmapper.mounts.activate.after")
	return spec{kind: r.Info.Kind, path: path, fsType: dev.FSType, ids: request.IDs, config: d.config}.mounts(), nil
}
