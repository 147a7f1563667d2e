package overlay

import (
	"context"
	"fmt"

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
		// Behind the commit, also when the caller is gone by then. Numbers are
		// never used twice, so the paths need not be free at once.
		Done: func() { d.bin.Drop(d.holdings(r)...) },
	})
	if err != nil {
		return err
	}
	failpoint.Hit("overlay.remove.metadata.after")
	return nil
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

// holdings are the paths that a snapshot of its kind may have on disk.
func (d *Driver) holdings(r metadata.Record) []string {
	switch r.Info.Kind {
	case snapshots.KindActive:
		return []string{d.layout.work(r.ID), d.layout.layer(r.ID)}
	case snapshots.KindCommitted: // its work directory went at Commit
		return []string{d.layout.layer(r.ID), d.layout.usage(r.ID)}
	}
	return nil
}
