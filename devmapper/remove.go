package devmapper

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Remove takes the snapshot's record away; its device is deleted behind the
// answer. A snapshot with children, or one that is mounted or open, is in use.
func (d *Driver) Remove(ctx context.Context, key string) error {
	if err := d.remove(ctx, key); err != nil {
		return fmt.Errorf("remove snapshot %q: %w", key, err)
	}
	return nil
}

func (d *Driver) remove(ctx context.Context, key string) error {
	release, err := d.keys.take(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	r, dev, err := d.find(ctx, key)
	if err != nil && !errdefs.IsDataLoss(err) {
		return err // a record whose device nobody knows can go all the same
	}
	// The device of a committed snapshot is nobody's to open.
	if r.Info.Kind != snapshots.KindCommitted && dev.Thin != 0 {
		if err := d.mustBeIdle(ctx, dev); err != nil {
			return err
		}
	}
	gone := refuse{Of: key}
	failpoint.Hit("devmapper.remove.metadata.before")
	err = d.store.Do(context.WithoutCancel(ctx), metadata.Write{
		Check: func(ctx context.Context) error {
			id, _, _, err := storage.GetInfo(ctx, key)
			if err == nil && id != r.ID {
				// Only a Commit to this name can have done that: it takes the
				// lock of its key, not of its name.
				err = fmt.Errorf("it changed while it was being removed; try again: %w", errdefs.ErrUnavailable)
			}
			return err
		},
		Apply: func(ctx context.Context) error {
			if _, _, err := storage.Remove(ctx, key); err != nil {
				return err
			}
			if err := drop(ctx, deviceBucket, []byte(r.ID)); err != nil || dev.Thin == 0 {
				return err
			}
			return put(ctx, trashBucket, thinKey(dev.Thin), gone)
		},
		Done: func() {
			if dev.Thin != 0 {
				d.trash.add(dev.Thin, gone, true)
			}
		},
	})
	if err != nil {
		return err
	}
	failpoint.Hit("devmapper.remove.metadata.after")
	return nil
}

// find reads a snapshot's record and its device.
func (d *Driver) find(ctx context.Context, key string) (r metadata.Record, dev device, err error) {
	err = d.store.Read(ctx, func(ctx context.Context) (err error) {
		if r.ID, r.Info, r.Usage, err = storage.GetInfo(ctx, key); err != nil {
			return err
		}
		dev, err = getDevice(ctx, r.ID)
		return err
	})
	return r, dev, err
}

// mustBeIdle refuses to delete what somebody has mounted or open. Garbage
// collection passes over it and comes again.
func (d *Driver) mustBeIdle(ctx context.Context, dev device) error {
	active, open, _, err := d.pool.Active(ctx, dev.Thin)
	if err != nil || !active || open == 0 {
		return err
	}
	if open, err = d.patience(ctx, dev); err != nil || open == 0 {
		return err
	}
	return fmt.Errorf("its device %s is open; unmount it, or end the virtual machine that has it: %w",
		d.pool.Path(dev.Thin), errdefs.ErrFailedPrecondition)
}

// patience waits a moment for a device that is open without being mounted:
// udev and its like look into every new device. It returns how often it is
// open then.
func (d *Driver) patience(ctx context.Context, dev device) (open int, err error) {
	const looks, pause = 15, 10 * time.Millisecond
	for i := range looks {
		mounted, err := mountedHere(d.pool.Path(dev.Thin), dev.FSType)
		if err != nil {
			return 0, err
		}
		if i > 0 || mounted {
			if _, open, _, err = d.pool.Active(ctx, dev.Thin); err != nil || open == 0 || mounted {
				return open, err
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return open, nil
}
