package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/quota"
	"github.com/varve-project/varve/snapshotter/labels"
	"github.com/varve-project/varve/snapshotter/limits"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Prepare makes an active snapshot; the mounts are the caller's to make.
func (d *Driver) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	m, err := d.create(ctx, snapshots.KindActive, key, parent, opts)
	if err != nil {
		return nil, fmt.Errorf("prepare snapshot %q: %w", key, err)
	}
	return m, nil
}

// View makes a read-only snapshot. It has no directory of its own.
func (d *Driver) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	m, err := d.create(ctx, snapshots.KindView, key, parent, opts)
	if err != nil {
		return nil, fmt.Errorf("view snapshot %q: %w", key, err)
	}
	return m, nil
}

// creation is one Prepare or View on its way.
type creation struct {
	d       *Driver
	kind    snapshots.Kind
	key     string
	parent  string
	info    snapshots.Info
	request labels.Request
	project uint32 // 0: none
	made    storage.Snapshot
}

func (d *Driver) create(ctx context.Context, kind snapshots.Kind, key, parent string, opts []snapshots.Opt) ([]mount.Mount, error) {
	c := &creation{d: d, kind: kind, key: key, parent: parent}
	if err := limits.Key("key", key); err != nil {
		return nil, err
	}
	info, request, err := d.gather(opts)
	if err != nil {
		return nil, err
	}
	c.info, c.request = info, request
	if request.IDs != nil {
		if err := d.probes.IDMapped.Err(); err != nil {
			return nil, fmt.Errorf("label %s=%q: %w", snapshots.LabelSnapshotUIDMapping, request.IDs.FormatUIDs(), err)
		}
	}
	if kind == snapshots.KindActive {
		if c.project, err = d.takeProject(request.MaxSize); err != nil {
			return nil, err
		}
	}
	err = d.store.Do(ctx, metadata.Write{Check: c.check, Apply: c.apply, Undo: c.undo})
	if err != nil {
		if ctx.Err() == nil {
			d.projects.giveBack(c.project)
		}
		// Where ctx ended first the creation may still happen, so the id
		// stays taken until the next start looks.
		return nil, err
	}
	return d.spec(c.made, request).mounts(), nil
}

// gather gathers a call's options and refuses labels that cannot be served.
func (d *Driver) gather(opts []snapshots.Opt) (info snapshots.Info, r labels.Request, err error) {
	for _, o := range opts {
		if err := o(&info); err != nil {
			return info, r, err
		}
	}
	delete(info.Labels, labels.Upperdir)
	if err := limits.Labels(info.Labels); err != nil {
		return info, r, err
	}
	r, err = labels.Parse(info.Labels)
	return info, r, err
}

// check answers what can be answered without a change. It reads in the order
// of storage.CreateSnapshot, so that the errors are the same.
func (c *creation) check(ctx context.Context) error {
	if c.parent != "" {
		_, info, _, err := storage.GetInfo(ctx, c.parent)
		if err != nil {
			return fmt.Errorf("parent %q: %w", c.parent, err)
		}
		if info.Kind != snapshots.KindCommitted {
			return fmt.Errorf("parent %q is not committed, it is %s; commit it first: %w",
				c.parent, strings.ToLower(info.Kind.String()), errdefs.ErrInvalidArgument)
		}
	}
	if _, _, _, err := storage.GetInfo(ctx, c.key); err == nil {
		return fmt.Errorf("it exists already: %w", errdefs.ErrAlreadyExists)
	}
	return nil
}

func (c *creation) apply(ctx context.Context) (err error) {
	c.made, err = storage.CreateSnapshot(ctx, c.kind, c.key, c.parent, func(i *snapshots.Info) error {
		i.Labels = c.info.Labels
		return nil
	})
	if err != nil || c.kind != snapshots.KindActive {
		return err
	}
	top := plainTop
	if len(c.made.ParentIDs) > 0 {
		if top, err = readTop(c.d.layout.layer(c.made.ParentIDs[0])); err != nil {
			return fmt.Errorf("parent %q: %w", c.parent, err)
		}
	}
	if c.request.IDs != nil {
		top.uid, top.gid = c.request.IDs.Root()
	}
	return c.d.makeDirs(c.made.ID, top, c.project)
}

// makeDirs makes the directories of an active snapshot. They are not synced:
// a power cut that loses them loses nothing that was ever synced in them
// either, and the next start makes them again.
func (d *Driver) makeDirs(id string, top topDir, project uint32) error {
	work, layer := d.layout.work(id), d.layout.layer(id)
	failpoint.Hit("overlay.prepare.work.before")
	if err := d.freshDir(work, 0o711); err != nil {
		return err
	}
	failpoint.Hit("overlay.prepare.work.after")
	failpoint.Hit("overlay.prepare.layer.before")
	if err := d.freshDir(layer, 0o755); err != nil {
		return err
	}
	if err := top.write(layer); err != nil {
		return err
	}
	failpoint.Hit("overlay.prepare.layer.after")
	if project == 0 {
		return nil
	}
	failpoint.Hit("overlay.prepare.project.before")
	// Both carry the id, or a copy-up, which renames from one into the
	// other, fails with EXDEV.
	if err := errors.Join(quota.SetProject(layer, project), quota.SetProject(work, project)); err != nil {
		return err
	}
	failpoint.Hit("overlay.prepare.project.after")
	return nil
}

// freshDir makes an empty directory. One that is there belongs to nobody
// (ids are never used twice but after a transaction that failed), and goes
// to the trash.
func (d *Driver) freshDir(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		if err := d.bin.Put(path); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	return err
}

// undo takes the directories of a creation that did not happen away again.
func (c *creation) undo() {
	if c.made.ID == "" || c.kind != snapshots.KindActive {
		return
	}
	for _, dir := range []string{c.d.layout.layer(c.made.ID), c.d.layout.work(c.made.ID)} {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.d.log.WithError(err).WithField("path", dir).Warn("cannot remove the directory of a snapshot that failed; the next start does")
		}
	}
	c.made = storage.Snapshot{}
}

// Mounts answers for an active snapshot or a View what Prepare or View did.
func (d *Driver) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	var s storage.Snapshot
	var info snapshots.Info
	err := d.store.Read(ctx, func(ctx context.Context) (err error) {
		if s, err = storage.GetSnapshot(ctx, key); err != nil {
			return err
		}
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mounts of snapshot %q: %w", key, err)
	}
	request, err := labels.Parse(info.Labels)
	if err != nil {
		return nil, fmt.Errorf("mounts of snapshot %q: %w", key, err)
	}
	return d.spec(s, request).mounts(), nil
}

func (d *Driver) spec(s storage.Snapshot, r labels.Request) spec {
	return spec{layout: d.layout, kind: s.Kind, id: s.ID, parents: s.ParentIDs, ids: r.IDs, options: d.options}
}
