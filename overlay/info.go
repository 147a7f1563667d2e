package overlay

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/quota"
	"github.com/varve-project/varve/snapshotter/labels"
	"github.com/varve-project/varve/snapshotter/limits"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Stat returns what is recorded of a snapshot.
func (d *Driver) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	r, err := d.store.Get(ctx, key)
	if err != nil {
		return snapshots.Info{}, err
	}
	return d.describe(r), nil
}

// describe adds what is told and not recorded.
func (d *Driver) describe(r metadata.Record) snapshots.Info {
	if d.config.UpperdirLabel && r.Info.Kind != snapshots.KindView {
		if r.Info.Labels == nil {
			r.Info.Labels = map[string]string{}
		}
		r.Info.Labels[labels.Upperdir] = d.layout.layer(r.ID)
	}
	return r.Info
}

// Walk calls fn for every snapshot that the filters let through, outside the
// transaction: fn may take its time and may call the driver.
func (d *Driver) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	list, err := d.store.List(ctx, filters...)
	if err != nil {
		return err
	}
	for _, r := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(ctx, d.describe(r)); err != nil {
			return err
		}
	}
	return nil
}

// Update replaces labels. A changed max-size takes effect at once; an id
// mapping is fixed, for the snapshot's files have the owners it gave them.
func (d *Driver) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	u := &update{d: d, info: info, fields: fieldpaths}
	delete(u.info.Labels, labels.Upperdir)
	if err := limits.Labels(u.info.Labels); err != nil {
		return snapshots.Info{}, fmt.Errorf("update snapshot %q: %w", info.Name, err)
	}
	failpoint.Hit("overlay.update.metadata.before")
	if err := d.store.Do(ctx, metadata.Write{Check: u.check, Apply: u.apply, Undo: u.undo}); err != nil {
		return snapshots.Info{}, fmt.Errorf("update snapshot %q: %w", info.Name, err)
	}
	failpoint.Hit("overlay.update.metadata.after")
	return d.describe(u.result), nil
}

type update struct {
	d      *Driver
	info   snapshots.Info
	fields []string

	before  labels.Request
	result  metadata.Record
	project uint32
	resized bool
}

func (u *update) check(ctx context.Context) (err error) {
	u.result.ID, u.result.Info, u.result.Usage, err = storage.GetInfo(ctx, u.info.Name)
	if err != nil {
		return err
	}
	u.before, err = labels.Parse(u.result.Info.Labels)
	return err
}

func (u *update) apply(ctx context.Context) (err error) {
	if u.result.Info, err = storage.UpdateInfo(ctx, u.info, u.fields...); err != nil {
		return err
	}
	if u.result.Info.Kind == snapshots.KindCommitted {
		return nil
	}
	after, err := labels.Parse(u.result.Info.Labels)
	if err != nil {
		return err
	}
	if mapping(after) != mapping(u.before) {
		return fmt.Errorf("labels %s and %s cannot change after Prepare, the files have their owners already: %w",
			snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping, errdefs.ErrInvalidArgument)
	}
	if after.MaxSize == u.before.MaxSize || u.result.Info.Kind != snapshots.KindActive {
		return nil
	}
	return u.resize(after.MaxSize)
}

func mapping(r labels.Request) string {
	if r.IDs == nil {
		return ""
	}
	return r.IDs.FormatUIDs() + ";" + r.IDs.FormatGIDs()
}

// resize moves the limit of an active snapshot.
func (u *update) resize(bytes int64) (err error) {
	if !u.d.limits() {
		if bytes == 0 {
			return nil
		}
		return u.d.noQuota(bytes)
	}
	if u.project, _, err = quota.Project(u.d.layout.layer(u.result.ID)); err != nil {
		return err
	}
	if u.project == 0 {
		return fmt.Errorf("label %s=%d: the snapshot was prepared without a quota and cannot get one later; prepare it anew: %w",
			snapshots.LabelSnapshotMaxSize, bytes, errdefs.ErrFailedPrecondition)
	}
	failpoint.Hit("overlay.update.limit.before")
	if err := u.d.projects.fs.SetLimit(u.project, bytes); err != nil {
		return err
	}
	failpoint.Hit("overlay.update.limit.after")
	u.resized = true
	return nil
}

func (u *update) undo() {
	if !u.resized {
		return
	}
	u.resized = false
	if err := u.d.projects.fs.SetLimit(u.project, u.before.MaxSize); err != nil {
		u.d.log.WithError(err).WithField("snapshot", u.info.Name).Warn("cannot put a snapshot's former limit back")
	}
}
