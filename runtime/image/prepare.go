package image

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// containerPrefix begins the keys of containers' snapshots in the
// snapshotter. They are not in the metadata: the snapshotter's own record is
// the only one, so that a Prepare costs one durable write, not three. What
// they stand on is protected in a collection, which asks the snapshotter for
// them (collect.go).
const containerPrefix = Namespace + "-container/"

// labelImage on a container's snapshot is the image's name.
const labelImage = "varve.dev/image"

// Prepare makes the writable root file system of a container and returns its
// mounts, unpacking the image when it is not. A key that exists already gives
// the mounts it has, so a caller may repeat the call after a crash; on another
// image the error wraps errdefs.ErrAlreadyExists. The caller mounts and
// unmounts.
func (s *Store) Prepare(ctx context.Context, key string, img Image, o PrepareOptions) ([]mount.Mount, error) {
	labels := maps.Clone(o.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	if o.MaxSize < 0 {
		return nil, fmt.Errorf("prepare %s: MaxSize %d: want bytes, 0 for no limit: %w", key, o.MaxSize, errdefs.ErrInvalidArgument)
	}
	if o.MaxSize > 0 {
		labels["containerd.io/snapshot/max-size"] = strconv.FormatInt(o.MaxSize, 10)
	}
	if (o.UIDMap == "") != (o.GIDMap == "") {
		return nil, fmt.Errorf("prepare %s: UIDMap %q and GIDMap %q: set both or none: %w", key, o.UIDMap, o.GIDMap, errdefs.ErrInvalidArgument)
	}
	if o.UIDMap != "" {
		labels[snapshots.LabelSnapshotUIDMapping] = o.UIDMap
		labels[snapshots.LabelSnapshotGIDMapping] = o.GIDMap
	}
	return s.create(ctx, key, img, labels, s.backend.Prepare)
}

// View is Prepare for a read-only root.
func (s *Store) View(ctx context.Context, key string, img Image) ([]mount.Mount, error) {
	return s.create(ctx, key, img, map[string]string{}, s.backend.View)
}

type createFunc func(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error)

func (s *Store) create(ctx context.Context, key string, img Image, labels map[string]string, make createFunc) ([]mount.Mount, error) {
	ctx = s.context(ctx)
	if key == "" {
		return nil, fmt.Errorf("prepare: empty key: %w", errdefs.ErrInvalidArgument)
	}
	labels[labelImage] = img.Name
	for repaired := false; ; repaired = true {
		parent, mounts, err := s.createOnce(ctx, key, img, labels, make)
		switch {
		case err == nil:
			return mounts, nil
		case errdefs.IsAlreadyExists(err):
			return s.existing(ctx, key, parent)
		case errdefs.IsNotFound(err) && !repaired:
			// Not unpacked, or its layers have gone from the snapshotter.
			if err := s.Unpack(ctx, img, nil); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("prepare %s on image %s: %w", key, img.Name, err)
		}
	}
}

func (s *Store) createOnce(ctx context.Context, key string, img Image, labels map[string]string, make createFunc) (string, []mount.Mount, error) {
	pass, err := s.gate.pass()
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = pass.Release() }()
	parent, err := s.parent(img)
	if err != nil {
		return "", nil, err
	}
	mounts, err := make(ctx, containerPrefix+key, parent, snapshots.WithLabels(labels))
	return parent, mounts, err
}

// parent is the snapshotter's name of the image's top layer, "" for an image
// without layers.
func (s *Store) parent(img Image) (name string, err error) {
	if img.ChainID == "" {
		return "", nil
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		if name = backendName(tx, s.opts.Snapshotter, img.ChainID.String()); name == "" {
			return fmt.Errorf("layer %s: %w", img.ChainID, errdefs.ErrNotFound)
		}
		return nil
	})
	return name, err
}

func (s *Store) existing(ctx context.Context, key, parent string) ([]mount.Mount, error) {
	info, err := s.backend.Stat(ctx, containerPrefix+key)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	if info.Parent != parent {
		return nil, fmt.Errorf("snapshot %s stands on image %s already; release it first: %w", key, info.Labels[labelImage], errdefs.ErrAlreadyExists)
	}
	return s.Mounts(ctx, key)
}

// Mounts returns the mounts of a key; the error wraps errdefs.ErrNotFound
// when neither Prepare nor View has been called with it.
func (s *Store) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	mounts, err := s.backend.Mounts(s.context(ctx), containerPrefix+key)
	if err != nil {
		return nil, fmt.Errorf("mounts of snapshot %s: %w", key, err)
	}
	return mounts, nil
}

// Release removes the snapshot of a key; the caller has unmounted it. It
// returns before the snapshotter has deleted the files. Releasing what is
// absent is no error. When the image's name has gone meanwhile, or stands for
// another image, the layers under the snapshot go too.
func (s *Store) Release(ctx context.Context, key string) error {
	ctx = s.context(ctx)
	info, err := s.backend.Stat(ctx, containerPrefix+key)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = s.backend.Remove(ctx, containerPrefix+key)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("release snapshot %s: %w", key, err)
	}
	img, err := s.Get(ctx, info.Labels[labelImage])
	if err != nil || img.ChainID.String() != layerName(info.Parent) {
		s.collectQuietly(ctx, "")
	}
	return nil
}

// Snapshots lists the keys in use by Prepare and View.
func (s *Store) Snapshots(ctx context.Context) ([]Snapshot, error) {
	infos, err := s.containers(s.context(ctx))
	if err != nil {
		return nil, err
	}
	var all []Snapshot
	for _, info := range infos {
		all = append(all, Snapshot{
			Key: strings.TrimPrefix(info.Name, containerPrefix), Image: info.Labels[labelImage],
			Parent: layerName(info.Parent), ReadOnly: info.Kind == snapshots.KindView,
			Labels: info.Labels, Created: info.Created,
		})
	}
	return all, nil
}

func (s *Store) containers(ctx context.Context) ([]snapshots.Info, error) {
	var infos []snapshots.Info
	err := s.walk(ctx, func(info snapshots.Info) {
		if strings.HasPrefix(info.Name, containerPrefix) {
			infos = append(infos, info)
		}
	})
	return infos, err
}

// walk lists everything in the snapshotter. containerd's own overlay answers
// NotFound when it has never held anything.
func (s *Store) walk(ctx context.Context, fn func(snapshots.Info)) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := s.backend.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		fn(info)
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("list snapshots: %w", explain(s.opts.Snapshotter, s.opts.Address, err))
	}
	return nil
}

// layerName is the metadata's name of a layer from the snapshotter's, which is
// NAMESPACE/SEQUENCE/NAME.
func layerName(backend string) string {
	parts := strings.SplitN(backend, "/", 3)
	if len(parts) != 3 || parts[0] != Namespace {
		return ""
	}
	return parts[2]
}
