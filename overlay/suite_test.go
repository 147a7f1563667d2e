package overlay_test

import (
	"context"
	"path/filepath"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"

	"github.com/varve-project/varve/overlay"
)

// TestContainerdSuite runs containerd's own suite through the socket. Its
// name is the kind of mounts that it expects ("overlayfs": renaming a
// lower directory is EXDEV), not the plug-in's name.
func TestContainerdSuite(t *testing.T) {
	needsRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		s := serve(t, filepath.Join(root, "v"), overlay.DefaultConfig())
		return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(s.conn), "varve-overlay"), s.stop, nil
	})
}
