package devmapper_test

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"

	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/internal/mount"
	"github.com/varve-project/varve/snapshotter/conformance"
)

// TestContainerdSuite runs containerd's own suite through the socket.
func TestContainerdSuite(t *testing.T) {
	needsPool(t)
	for _, fsType := range format.Types() {
		t.Run(fsType, func(t *testing.T) {
			testsuite.SnapshotterSuite(t, "varve-devmapper", func(context.Context, string) (snapshots.Snapshotter, func() error, error) {
				s, end := serveUntil(t, config(fsType))
				return s.sn, end, nil
			})
		})
	}
}

// TestConformance runs ours.
func TestConformance(t *testing.T) {
	needsPool(t)
	for _, fsType := range format.Types() {
		t.Run(fsType, func(t *testing.T) {
			s := start(t, config(fsType))
			able := s.driver.Capabilities()
			must(t, s.stop())
			conformance.Run(t, able, func(t testing.TB) *conformance.Subject {
				s := serve(t, config(fsType))
				subject := &conformance.Subject{
					Conn: s.conn, Address: s.address, Capabilities: able,
					Held: func(t testing.TB) int64 { return held(t, s) },
				}
				if fsType == mount.XFS {
					subject.Limit = 320 * mib // xfs is never below 300
				}
				return subject
			})
		})
	}
}
