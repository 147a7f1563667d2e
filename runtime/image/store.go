// Package image is the runtime's image store: names, content and unpacked
// layers. Images come from registries, OCI layouts and archives, go through
// containerd's content and metadata stores under Root, and are unpacked layer
// by layer through the snapshotter's socket, exactly as containerd would.
//
// Many processes use one store at once. There is no daemon: the metadata is
// one bbolt file that is opened per transaction, and what must not overlap
// between processes is held apart by locks that the kernel drops when their
// holder dies. The package knows no snapshotter; it speaks containerd's
// snapshots gRPC API only. It mounts nothing but the temporary mounts of a
// layer that is being unpacked: what Prepare and View return is for the
// caller to mount.
package image

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

// Namespace is the containerd namespace of everything in the store.
const Namespace = "varve"

// Options say where the store is and which snapshotter serves it.
type Options struct {
	// Root is the store's folder (ROOT/runtime/images); made when absent.
	Root string
	// Snapshotter is the plug-in's full name, "varve-overlay".
	Snapshotter string
	// Address is the path of its unix socket.
	Address string
	// Limits bound hostile images; the zero value means DefaultLimits.
	Limits Limits
}

// Store is an open image store. Its methods may be called from several
// goroutines, and from several processes on one Root.
type Store struct{ opts Options }

// Open makes the store ready. It is cheap: the socket is dialled when first
// needed and the metadata is opened per transaction.
func Open(ctx context.Context, o Options) (*Store, error) { return &Store{o}, nil }

// Close releases the connection. The store's content stays.
func (s *Store) Close() error { return nil }

var errSoon = fmt.Errorf("image store: %w", errdefs.ErrNotImplemented)

// Pull fetches ref and records it under its full name. It does not unpack.
// What an interrupted Pull has fetched is used by the next one.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (Image, error) {
	return Image{}, errSoon
}

// Load reads every image of an OCI layout directory, an OCI archive or a
// docker archive (plain, gzip or zstd; "-" reads standard input) and records
// them. It does not unpack.
func (s *Store) Load(ctx context.Context, path string, o LoadOptions) ([]Image, error) {
	return nil, errSoon
}

// Get finds an image by name. A short name is completed as Docker does
// ("busybox" is docker.io/library/busybox:latest). The error wraps
// errdefs.ErrNotFound when there is none.
func (s *Store) Get(ctx context.Context, ref string) (Image, error) { return Image{}, errSoon }

// List returns all images by name.
func (s *Store) List(ctx context.Context) ([]Image, error) { return nil, errSoon }

// Remove forgets the name and frees the content and layers that nothing else
// needs. Layers under a container stay until its snapshot is released.
func (s *Store) Remove(ctx context.Context, ref string) error { return errSoon }

// Unpack brings all layers of the image into the snapshotter. It is
// idempotent; layers that are there already cost one look each.
func (s *Store) Unpack(ctx context.Context, img Image, p Progress) error { return errSoon }

// Prepare makes the writable root file system of a container and returns its
// mounts, unpacking the image when it is not. A key that exists already gives
// the mounts it has, so a caller may repeat the call after a crash.
func (s *Store) Prepare(ctx context.Context, key string, img Image, o PrepareOptions) ([]mount.Mount, error) {
	return nil, errSoon
}

// View is Prepare for a read-only root.
func (s *Store) View(ctx context.Context, key string, img Image) ([]mount.Mount, error) {
	return nil, errSoon
}

// Mounts returns the mounts of a key; the error wraps errdefs.ErrNotFound
// when Prepare or View has not been called with it.
func (s *Store) Mounts(ctx context.Context, key string) ([]mount.Mount, error) { return nil, errSoon }

// Release removes the snapshot of a key; the caller has unmounted it.
// Releasing what is absent is no error.
func (s *Store) Release(ctx context.Context, key string) error { return errSoon }

// Snapshots lists the keys in use by Prepare and View.
func (s *Store) Snapshots(ctx context.Context) ([]Snapshot, error) { return nil, errSoon }
