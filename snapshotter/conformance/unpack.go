package conformance

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/semaphore"
)

var unpackCases = []Case{
	{Name: "layers unpacked one by one keep their deletions", Run: on(func(r *run) { unpackImage(r, nil) })},
	{Name: "layers unpacked in parallel keep their deletions", When: rebases, Run: on(func(r *run) { unpackImage(r, []string{snapshots.RebaseCap}) })},
}

// unpackImage unpacks an image whose layers delete, the way containerd does,
// under a plug-in name that containerd does not know.
func unpackImage(r *run, capabilities []string) {
	layers := [][]entry{
		{{name: "kept", body: "0"}, {name: "deleted", body: "0"}, {name: "replaced", body: "0"}, {name: "dir/"}, {name: "dir/old", body: "0"}, {name: "tree/"}, {name: "tree/f", body: "0"}},
		{{name: ".wh.deleted"}, {name: "dir/"}, {name: "dir/.wh..wh..opq"}, {name: "dir/new", body: "1"}, {name: ".wh.tree"}},
		{{name: "replaced/"}, {name: "replaced/f", body: "2"}, {name: "again", body: "2"}},
		{{name: ".wh.again"}, {name: "tree/"}, {name: "tree/g", body: "3"}},
	}
	top := unpackLayers(r, layers, capabilities)
	r.look(top, func(dir string) {
		r.holds(dir, "kept", "0")
		r.lacks(dir, "deleted")
		r.holds(dir, "dir/new", "1")
		r.lacks(dir, "dir/old")
		r.holds(dir, "replaced/f", "2")
		r.lacks(dir, "again")
		r.holds(dir, "tree/g", "3")
		r.lacks(dir, "tree/f")
		for _, name := range []string{".wh.deleted", ".wh.tree", ".wh.again", "dir/.wh..wh..opq"} {
			r.lacks(dir, name)
		}
	})
}

// entry is a file of a layer, or a directory when its name ends in "/".
type entry struct{ name, body string }

// unpackLayers returns the name of the topmost snapshot.
func unpackLayers(r *run, layers [][]entry, capabilities []string) string {
	r.Helper()
	dir, err := os.MkdirTemp("", "conformance-content-")
	r.must(err, "temporary directory")
	defer func() { _ = os.RemoveAll(dir) }()
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	r.must(err, "content store")
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	r.must(err, "metadata")
	defer func() { _ = db.Close() }()
	meta := metadata.NewDB(db, blobs, nil)
	ctx, done, err := leased(r.ctx, meta)
	r.must(err, "lease")
	defer done()
	store := meta.ContentStore()

	var manifest ocispec.Manifest
	image := ocispec.Image{Platform: platforms.DefaultSpec(), RootFS: ocispec.RootFS{Type: "layers"}}
	for _, l := range layers {
		blob := tarball(r, l)
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, digest.FromBytes(blob))
		manifest.Layers = append(manifest.Layers, put(ctx, r, store, ocispec.MediaTypeImageLayer, blob))
	}
	manifest.Versioned = specs.Versioned{SchemaVersion: 2}
	manifest.MediaType = ocispec.MediaTypeImageManifest
	manifest.Config = put(ctx, r, store, ocispec.MediaTypeImageConfig, marshal(r, image))
	target := put(ctx, r, store, ocispec.MediaTypeImageManifest, marshal(r, manifest))

	u, err := unpack.NewUnpacker(ctx, store,
		unpack.WithUnpackPlatform(unpack.Platform{
			Platform: platforms.Default(), SnapshotterKey: name, Snapshotter: r.sn,
			SnapshotterCapabilities: capabilities, Applier: apply.NewFileSystemApplier(store),
		}),
		unpack.WithUnpackLimiter(semaphore.NewWeighted(int64(len(layers)))))
	r.must(err, "unpacker")
	r.must(images.Dispatch(ctx, u.Unpack(images.ChildrenHandler(store)), nil, target), "unpack")
	_, err = u.Wait()
	r.must(err, "unpack")
	return identity.ChainID(image.RootFS.DiffIDs).String()
}

// leased keeps containerd's own garbage collection away from the blobs.
func leased(ctx context.Context, db *metadata.DB) (context.Context, func(), error) {
	manager := metadata.NewLeaseManager(db)
	l, err := manager.Create(ctx, leases.WithRandomID())
	if err != nil {
		return ctx, nil, err
	}
	return leases.WithLease(ctx, l.ID), func() { _ = manager.Delete(ctx, l) }, nil
}

func tarball(r *run, entries []entry) []byte {
	r.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.body)), Typeflag: tar.TypeReg}
		if e.name[len(e.name)-1] == '/' {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		r.must(w.WriteHeader(h), "tar")
		_, err := w.Write([]byte(e.body))
		r.must(err, "tar")
	}
	r.must(w.Close(), "tar")
	return b.Bytes()
}

func marshal(r *run, v any) []byte {
	r.Helper()
	text, err := json.Marshal(v)
	r.must(err, "json")
	return text
}

func put(ctx context.Context, r *run, store content.Store, mediaType string, blob []byte) ocispec.Descriptor {
	r.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	r.must(content.WriteBlob(ctx, store, fmt.Sprint("put-", d.Digest), bytes.NewReader(blob), d), "write blob")
	return d
}

// ownDirs are the directories that hold an overlay snapshot's own files.
func ownDirs(mounts []mount.Mount) (dirs []string) {
	const upper = "upperdir="
	for _, m := range mounts {
		for _, o := range m.Options {
			if len(o) > len(upper) && o[:len(upper)] == upper {
				dirs = append(dirs, o[len(upper):])
			}
		}
	}
	return dirs
}
