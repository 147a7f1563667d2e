package overlay_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/overlay"
	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/server"
)

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// served is a driver behind a socket of its own.
type served struct {
	driver  *overlay.Driver
	conn    *grpc.ClientConn
	address string
	stop    func() error
}

// serve opens a driver on root and serves it; the test stops it, or calls
// stop itself.
func serve(t testing.TB, root string, config overlay.Config) *served {
	t.Helper()
	return serveWrapped(t, root, config, false, nil)
}

// serveWrapped puts wrap between the driver and the server, which with
// streaming is containerd's own and not ours.
func serveWrapped(t testing.TB, root string, config overlay.Config, streaming bool, wrap func(snapshotter.Driver) snapshotter.Driver) *served {
	t.Helper()
	ctx := context.Background()
	d, err := overlay.Open(ctx, root, config, log.L)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "vo")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	var driver snapshotter.Driver = d
	if wrap != nil {
		driver = wrap(d)
	}
	if streaming {
		snapshotsapi.RegisterSnapshotsServer(g, snapshotservice.FromSnapshotter(driver))
	} else {
		server.New(driver, server.DefaultConfig()).Register(g)
	}
	go func() { _ = g.Serve(l) }()
	conn, err := server.Dial(ctx, socket, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	s := &served{driver: d, conn: conn, address: socket}
	s.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		err := conn.Close()
		g.Stop()
		return errors.Join(err, d.Close(), os.RemoveAll(dir))
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}
