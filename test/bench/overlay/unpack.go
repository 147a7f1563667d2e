package overlay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// unpacker unpacks one image with containerd's own unpacker, content store and
// differ, the way its clients do.
type unpacker struct {
	store    content.Store
	applier  diff.Applier
	leases   leases.Manager
	manifest ocispec.Descriptor
}

// measure returns the milliseconds that unpacking took; limit is
// max_concurrent_unpacks, and 1 the shipped default: one layer by one.
func (u unpacker) measure(ctx context.Context, c Contender, capabilities []string, limit int) (float64, error) {
	lease, err := u.leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return 0, fmt.Errorf("create a lease: %w", err)
	}
	unix.Sync()
	start := time.Now()
	err = u.unpack(leases.WithLease(ctx, lease.ID), c, capabilities, limit)
	took := milliseconds(time.Since(start))
	return took, errors.Join(err, removeAll(ctx, c), u.leases.Delete(ctx, lease, leases.SynchronousDelete), c.settle(ctx))
}

func (u unpacker) unpack(ctx context.Context, c Contender, capabilities []string, limit int) error {
	platform := unpack.Platform{
		SnapshotterKey:          c.Name,
		Snapshotter:             c.Snapshotter,
		SnapshotterCapabilities: capabilities,
		Applier:                 u.applier,
		ApplyOpts:               []diff.ApplyOpt{diff.WithSyncFs(c.Sync)},
	}
	opts := []unpack.UnpackerOpt{unpack.WithUnpackPlatform(platform)}
	if limit > 1 {
		opts = append(opts, unpack.WithUnpackLimiter(semaphore.NewWeighted(int64(limit))))
	}
	unpacker, err := unpack.NewUnpacker(ctx, u.store, opts...)
	if err != nil {
		return err
	}
	handler := unpacker.Unpack(images.ChildrenHandler(u.store))
	if err := images.Dispatch(ctx, handler, nil, u.manifest); err != nil {
		return fmt.Errorf("unpack on %s: %w", c.Name, err)
	}
	result, err := unpacker.Wait()
	if err == nil && result.Unpacks != 1 {
		err = fmt.Errorf("%d images were unpacked, want 1", result.Unpacks)
	}
	if err != nil {
		return fmt.Errorf("unpack on %s: %w", c.Name, err)
	}
	return nil
}

// removeAll removes every snapshot, children first.
func removeAll(ctx context.Context, c Contender) error {
	var infos []snapshots.Info
	err := c.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		infos = append(infos, info)
		return nil
	})
	// The built-in driver answers so on an empty store.
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("list snapshots on %s: %w", c.Name, err)
	}
	for len(infos) > 0 {
		parents := map[string]bool{}
		for _, info := range infos {
			parents[info.Parent] = true
		}
		rest := slices.DeleteFunc(slices.Clone(infos), func(info snapshots.Info) bool { return !parents[info.Name] })
		for _, info := range infos {
			if parents[info.Name] {
				continue
			}
			if err := c.Remove(ctx, info.Name); err != nil {
				return fmt.Errorf("remove %s on %s: %w", info.Name, c.Name, err)
			}
		}
		infos = rest
	}
	return nil
}
