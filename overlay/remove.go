package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Remove takes the snapshot's record away and moves its directories to the
// trash. A snapshot with children, or one that is mounted, is in use.
func (d *Driver) Remove(ctx context.Context, key string) error {
	if err := d.remove(ctx, key); err != nil {
		return fmt.Errorf("remove snapshot %q: %w", key, err)
	}
	return nil
}

func (d *Driver) remove(ctx context.Context, key string) error {
	r, err := d.store.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := d.mustBeIdle(r); err != nil {
		return err
	}
	discarded := make(chan struct{})
	failpoint.Hit("overlay.remove.metadata.before")
	err = d.store.Do(ctx, metadata.Write{
		Check: func(ctx context.Context) error {
			id, _, _, err := storage.GetInfo(ctx, key)
			if err == nil && id != r.ID {
				// It was removed and made anew since we looked whether it is
				// mounted.
				err = fmt.Errorf("it changed while it was being removed; try again: %w", errdefs.ErrUnavailable)
			}
			return err
		},
		Apply: func(ctx context.Context) error {
			_, _, err := storage.Remove(ctx, key)
			return err
		},
		// Behind the commit, also when the caller is gone by then.
		Done: func() {
			go func() {
				defer close(discarded)
				failpoint.Hit("overlay.remove.metadata.after")
				d.discard(r.ID)
			}()
		},
	})
	if err != nil {
		return err
	}
	select {
	case <-discarded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mustBeIdle refuses to pull the directory from under a mounted snapshot:
// the container's files would vanish while it runs. Garbage collection
// passes over it and comes again.
func (d *Driver) mustBeIdle(r metadata.Record) error {
	if r.Info.Kind != snapshots.KindActive {
		return nil
	}
	point, err := d.mounted.mountPoint(d.layout.layer(r.ID))
	if err != nil {
		return err
	}
	if point != "" {
		return fmt.Errorf("it is mounted at %s; unmount it first: %w", point, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// discard moves what a removed snapshot has on disk to the trash. What
// fails here has no record any more, so the next start does it.
func (d *Driver) discard(id string) {
	failpoint.Hit("overlay.remove.work.before")
	err := d.bin.Put(d.layout.work(id))
	failpoint.Hit("overlay.remove.work.after")
	failpoint.Hit("overlay.remove.layer.before")
	err = errors.Join(err, d.bin.Put(d.layout.layer(id)))
	failpoint.Hit("overlay.remove.layer.after")
	failpoint.Hit("overlay.remove.usage.before")
	if e := os.Remove(d.layout.usage(id)); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	failpoint.Hit("overlay.remove.usage.after")
	if err != nil {
		d.log.WithError(err).Warn("cannot move a removed snapshot to the trash; the next start does")
	}
}
