package devmapper

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// unpacked is a measure of unpacking an image with containerd's own unpacker,
// content store and differ, all within this process; only the snapshotter is
// behind a socket.
func (b *bench) unpacked(im image, figure string) func(context.Context, Contender, string) (map[string]float64, error) {
	return func(ctx context.Context, c Contender, key string) (map[string]float64, error) {
		store, err := local.NewLabeledStore(filepath.Join(b.dir, "content", key, c.Name, figure), &labels{of: map[digest.Digest]map[string]string{}})
		if err != nil {
			return nil, err
		}
		manifest, err := im.store(ctx, store)
		if err != nil {
			return nil, err
		}
		unix.Sync()
		took, err := timed(func() error {
			unpacker, err := unpack.NewUnpacker(ctx, store, unpack.WithUnpackPlatform(unpack.Platform{
				SnapshotterKey: c.Name, Snapshotter: c.Snapshotter, Applier: apply.NewFileSystemApplier(store),
			}))
			if err != nil {
				return err
			}
			if err := images.Dispatch(ctx, unpacker.Unpack(images.ChildrenHandler(store)), nil, manifest); err != nil {
				return err
			}
			result, err := unpacker.Wait()
			if err == nil && result.Unpacks != 1 {
				err = fmt.Errorf("%d images were unpacked, want 1", result.Unpacks)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("unpack %d layers on %s: %w", im.layers, c.Name, err)
		}
		count, err := removeAll(ctx, c)
		if err == nil && count != im.layers {
			err = fmt.Errorf("unpacking %d layers on %s left %d snapshots", im.layers, c.Name, count)
		}
		return map[string]float64{figure: took}, errors.Join(err, c.cleanup(ctx))
	}
}

// removeAll removes every snapshot but the base, children first, and counts
// them.
func removeAll(ctx context.Context, c Contender) (int, error) {
	var infos []snapshots.Info
	err := c.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Name != base {
			infos = append(infos, info)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("list snapshots on %s: %w", c.Name, err)
	}
	count := len(infos)
	for len(infos) > 0 {
		parents := map[string]bool{}
		for _, info := range infos {
			parents[info.Parent] = true
		}
		infos = slices.DeleteFunc(infos, func(info snapshots.Info) bool {
			if parents[info.Name] || err != nil {
				return false
			}
			err = c.Remove(ctx, info.Name)
			return err == nil
		})
		if err != nil {
			return count, fmt.Errorf("remove what was unpacked on %s: %w", c.Name, err)
		}
	}
	return count, nil
}
