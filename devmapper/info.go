package devmapper

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/snapshotter/limits"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Stat returns what is recorded of a snapshot.
func (d *Driver) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	r, err := d.store.Get(ctx, key)
	return r.Info, err
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
		if err := fn(ctx, r.Info); err != nil {
			return err
		}
	}
	return nil
}

// Update replaces labels. A larger max-size grows the file system at once,
// mounted or not; an id mapping and the file system are fixed.
func (d *Driver) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	i, err := d.update(ctx, info, fieldpaths)
	if err != nil {
		return snapshots.Info{}, fmt.Errorf("update snapshot %q: %w", info.Name, err)
	}
	return i, nil
}

func (d *Driver) update(ctx context.Context, info snapshots.Info, fields []string) (snapshots.Info, error) {
	if err := limits.Labels(info.Labels); err != nil {
		return info, err
	}
	release, err := d.keys.take(ctx, info.Name)
	if err != nil {
		return info, err
	}
	defer release()
	r, dev, err := d.find(ctx, info.Name)
	if err != nil {
		return info, err
	}
	grown, err := d.resize(ctx, r, dev, updated(r.Info.Labels, info.Labels, fields))
	if err != nil {
		return info, err
	}
	var result snapshots.Info
	failpoint.Hit("devmapper.update.metadata.before")
	err = d.store.Do(context.WithoutCancel(ctx), metadata.Write{
		Check: func(ctx context.Context) error {
			id, _, _, err := storage.GetInfo(ctx, info.Name)
			if err == nil && id != r.ID {
				err = fmt.Errorf("it changed while it was being updated; try again: %w", errdefs.ErrUnavailable)
			}
			return err
		},
		Apply: func(ctx context.Context) (err error) {
			if result, err = storage.UpdateInfo(ctx, info, fields...); err != nil || grown == dev {
				return err
			}
			return put(ctx, deviceBucket, []byte(r.ID), grown)
		},
	})
	failpoint.Hit("devmapper.update.metadata.after")
	return result, err
}

// updated are the labels after an Update as storage.UpdateInfo does it.
func updated(now, given map[string]string, fields []string) map[string]string {
	if len(fields) == 0 {
		fields = []string{"labels"}
	}
	after := maps.Clone(now)
	if after == nil {
		after = map[string]string{}
	}
	for _, f := range fields {
		if f == "labels" {
			after = maps.Clone(given)
		} else if key, ok := strings.CutPrefix(f, "labels."); ok {
			after[key] = given[key]
		}
	}
	// The store keeps no empty ones.
	maps.DeleteFunc(after, func(_, value string) bool { return value == "" })
	return after
}

// resize does what a change of labels asks of the snapshot's device, and
// returns the device as it is then. What it did stays, also when the labels
// are not recorded after all: a file system that is larger than it has to be
// is no harm.
func (d *Driver) resize(ctx context.Context, r metadata.Record, dev device, after map[string]string) (device, error) {
	if r.Info.Kind == snapshots.KindCommitted {
		return dev, nil
	}
	want, err := d.parse(after)
	if err != nil {
		return dev, err
	}
	had, err := d.parse(r.Info.Labels)
	if err != nil {
		return dev, err
	}
	if mapping(want) != mapping(had) {
		return dev, fmt.Errorf("labels %s and %s cannot change after Prepare, the files have their owners already: %w",
			snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping, errdefs.ErrInvalidArgument)
	}
	if err := want.mustBe(dev.FSType, "the snapshot"); err != nil {
		return dev, err
	}
	bytes := want.MaxSize / granule * granule
	switch {
	case r.Info.Kind != snapshots.KindActive || want.MaxSize == 0 || bytes == dev.Bytes && !dev.Growing:
		return dev, nil
	case bytes < dev.Bytes:
		return dev, fmt.Errorf("label %s=%d: the snapshot's file system has %d bytes, and a file system on a block device does not shrink: %w",
			snapshots.LabelSnapshotMaxSize, want.MaxSize, dev.Bytes, errdefs.ErrInvalidArgument)
	}
	if err := d.pool.Admit(); err != nil {
		return dev, err
	}
	return d.growTo(ctx, r.ID, dev, bytes)
}

// growTo grows an active snapshot's device and file system. The new size is
// recorded first: a device that a reboot made smaller than the file system on
// it could not be mounted any more.
func (d *Driver) growTo(ctx context.Context, id string, dev device, bytes int64) (device, error) {
	dev.Bytes, dev.Growing = bytes, true
	failpoint.Hit("devmapper.update.intent.before")
	err := d.store.Do(context.WithoutCancel(ctx), metadata.Write{
		Apply: func(ctx context.Context) error { return put(ctx, deviceBucket, []byte(id), dev) },
	})
	if err != nil {
		return dev, err
	}
	failpoint.Hit("devmapper.update.intent.after")
	failpoint.Hit("devmapper.update.activate.before")
	path, err := d.pool.Activate(ctx, dev.Thin, pool.Activation{Bytes: uint64(bytes)})
	if err != nil {
		return dev, err
	}
	failpoint.Hit("devmapper.update.activate.after")
	return growLive(path, dev)
}

func mapping(r request) string {
	if r.IDs == nil {
		return ""
	}
	return r.IDs.FormatUIDs() + ";" + r.IDs.FormatGIDs()
}
