// Package image is the runtime's image store: names, content and unpacked
// layers. Images come from registries, OCI layouts and archives, go through
// containerd's content and metadata stores under Root, and are unpacked layer
// by layer through the snapshotter's socket, exactly as containerd would.
//
// Many processes use one store at once. There is no daemon: the metadata is
// one bbolt file that is opened per transaction, and what must not overlap
// between processes is held apart by locks that the kernel drops when their
// holder dies. The package knows no snapshotter; it speaks containerd's
// snapshots gRPC API only. What Prepare and View return is for the caller to
// mount; the package itself mounts only what Mount was asked for and, with
// snapshotters other than overlay ones, a layer while it is being unpacked.
//
// Under Root:
//
//	content/     blobs and half-written ingests (containerd's local store)
//	meta.db      names, content, leases and layers (containerd's metadata)
//	owner        under which name the snapshotter keeps our layers (owner.go)
//	mounts/      records of images mounted for a look
//	*.lock       see locks.go
//
// A reader finds the way of an image in load.go and pull.go (in), document.go
// (what is believed of it), unpack.go and layer.go (onto disk), prepare.go
// (under a container) and collect.go (out).
package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
type Store struct {
	opts   Options
	limits Limits

	db      *metadata.DB
	local   content.Store // the blobs themselves, without metadata
	content content.Store // through metadata
	images  images.Store
	leases  leases.Manager
	layers  snapshots.Snapshotter // through metadata
	backend *backend              // the socket itself
	conn    *grpc.ClientConn

	gate  gate
	locks keyLocks

	probe             sync.Mutex
	probed, canRebase bool
}

// Open makes the store ready. It is cheap: the socket is dialled when first
// needed and the metadata is opened per transaction.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Root == "" || o.Snapshotter == "" || o.Address == "" {
		return nil, fmt.Errorf("open image store: Root %q, Snapshotter %q and Address %q must all be set: %w",
			o.Root, o.Snapshotter, o.Address, errdefs.ErrInvalidArgument)
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s := &Store{
		opts: o, limits: o.Limits.filled(),
		gate:  gate{filepath.Join(o.Root, "gate.lock")},
		locks: keyLocks{filepath.Join(o.Root, "keys.lock")},
	}
	bolt := &transactor{path: s.metaPath(), gate: &s.gate}
	if err := bolt.init(s.context(ctx)); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s.local = newLocalContent(filepath.Join(o.Root, "content"))
	name, err := owner(o.Root, bolt.lockPath())
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	if s.conn, err = dial(o.Snapshotter, o.Address, asOwner(name)...); err != nil {
		return nil, fmt.Errorf("open image store: snapshotter %s: %w", o.Snapshotter, err)
	}
	s.backend = newBackend(s.conn, o.Snapshotter)
	s.db = metadata.NewDB(bolt, &sharedContent{s.local, s.locks}, map[string]snapshots.Snapshotter{o.Snapshotter: s.backend})
	s.content = s.db.ContentStore()
	s.images = metadata.NewImageStore(s.db)
	s.leases = metadata.NewLeaseManager(s.db)
	s.layers = &gated{s.db.Snapshotter(o.Snapshotter), s.gate}
	return s, nil
}

// Close releases the connection; a second Close is no error. The store's
// content stays.
func (s *Store) Close() error {
	if err := s.conn.Close(); err != nil && status.Code(err) != codes.Canceled {
		return fmt.Errorf("close image store: %w", err)
	}
	return nil
}

func (s *Store) metaPath() string { return filepath.Join(s.opts.Root, "meta.db") }

// context puts the namespace in, which containerd's stores take from there.
func (s *Store) context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, Namespace)
}
