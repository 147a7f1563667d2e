package image

import (
	"context"
	"fmt"
	"runtime"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/semaphore"
)

// Unpack brings all layers of the image into the snapshotter. It is
// idempotent, and cheap when they are there; what a crash or another process
// has done already is used. A layer whose bytes are not those of its diff id,
// or that breaks a limit, leaves no snapshot behind.
func (s *Store) Unpack(ctx context.Context, img Image, p Progress) error {
	ctx = s.context(ctx)
	done, err := s.unpacked(ctx, img)
	if done || err != nil {
		return err
	}
	ctx, end, err := s.begin(ctx, "")
	if err != nil {
		return err
	}
	r, err := s.follow(ctx, img.Manifest, platforms.All, nil)
	if err == nil {
		err = s.unpackLayers(ctx, img.Name, r, p)
	}
	end(false)
	if err != nil {
		// What the failed unpack committed belongs to nobody.
		s.collectQuietly(ctx, "")
		return fmt.Errorf("unpack image %s: %w", img.Name, err)
	}
	return nil
}

// unpacked tells whether the metadata and the snapshotter both have the top
// layer, and whether this image's configuration holds on to it.
func (s *Store) unpacked(ctx context.Context, img Image) (bool, error) {
	if img.ChainID == "" {
		return true, nil
	}
	var name string
	var held bool
	err := s.view(ctx, func(ctx context.Context, tx *bolt.Tx) error {
		name = backendName(tx, s.opts.Snapshotter, img.ChainID.String())
		info, err := s.content.Info(ctx, img.ID)
		held = err == nil && info.Labels[s.snapshotLabel()] == img.ChainID.String()
		return nil
	})
	if err != nil || name == "" || !held {
		return false, err
	}
	_, err = s.backend.Stat(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) snapshotLabel() string {
	return "containerd.io/gc.ref.snapshot." + s.opts.Snapshotter
}

// unpackLayers runs core/unpack over content that is in the store, under the
// lease in ctx.
func (s *Store) unpackLayers(ctx context.Context, name string, r resolved, p Progress) error {
	if len(r.manifest.Layers) == 0 {
		return nil
	}
	if err := s.seed(); err != nil {
		return err
	}
	chain := identity.ChainIDs(append([]digest.Digest{}, r.config.RootFS.DiffIDs...))
	missing, err := s.forgetLost(ctx, chain)
	if err != nil {
		return err
	}
	var capabilities []string
	if missing > 1 {
		ok, err := s.rebases(ctx)
		if err != nil {
			return err
		}
		if ok {
			capabilities = append(capabilities, snapshots.RebaseCap)
		}
	}
	u, err := unpack.NewUnpacker(ctx, s.content,
		unpack.WithUnpackPlatform(unpack.Platform{
			Platform: platforms.All, SnapshotterKey: s.opts.Snapshotter, Snapshotter: s.layers,
			SnapshotterCapabilities: capabilities,
			Applier: &applier{provider: s.content, image: name, limits: s.limits,
				budget: &budget{limit: s.limits.UnpackedBytes}, progress: p},
		}),
		unpack.WithDuplicationSuppressor(&unpackLocks{locks: s.locks, held: map[string]*keyLock{}}),
		unpack.WithUnpackLimiter(semaphore.NewWeighted(int64(max(2, runtime.GOMAXPROCS(0))))))
	if err != nil {
		return err
	}
	err = images.Dispatch(ctx, u.Unpack(children(r)), nil, r.descriptor)
	_, werr := u.Wait()
	if werr != nil {
		return werr
	}
	return err
}

// children answers for the one manifest that is being unpacked. The layers'
// annotations stay behind: core/unpack would hand those that look like
// snapshot labels to the snapshotter, and they are a stranger's.
func children(r resolved) images.HandlerFunc {
	return func(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if d.Digest != r.descriptor.Digest {
			return nil, nil
		}
		all := []ocispec.Descriptor{bare(r.manifest.Config)}
		for _, l := range r.manifest.Layers {
			all = append(all, bare(l))
		}
		return all, nil
	}
}

func bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// forgetLost drops the records of layers that the snapshotter does not have
// any more (its root was wiped), topmost first, so that they are unpacked
// anew. It returns how many of the chain are to be unpacked.
func (s *Store) forgetLost(ctx context.Context, chain []digest.Digest) (missing int, err error) {
	names := make([]string, len(chain))
	err = s.view(ctx, func(_ context.Context, tx *bolt.Tx) error {
		for i, id := range chain {
			names[i] = backendName(tx, s.opts.Snapshotter, id.String())
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if names[i] == "" {
			missing++
			continue
		}
		_, err := s.backend.Stat(ctx, names[i])
		if err == nil {
			// A snapshot has all its ancestors.
			return missing, nil
		}
		if !errdefs.IsNotFound(err) {
			return 0, err
		}
		missing++
		if err := s.layers.Remove(ctx, chain[i].String()); err != nil {
			return 0, fmt.Errorf("forget lost layer %s: %w", chain[i], err)
		}
	}
	return missing, nil
}
