package devmapper_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/devmapper"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/snapshotter/server"
)

// served is a driver behind a socket of its own.
type served struct {
	fsType  string
	config  devmapper.Config
	pool    *pool.Pool
	driver  *devmapper.Driver
	conn    *grpc.ClientConn
	sn      snapshots.Snapshotter
	address string
	stop    func() error
}

// turn lets one test at a time have the pool.
var turn sync.Mutex

// config is small: what the tests write is less than what a template takes.
func config(fsType string) devmapper.Config {
	c := devmapper.DefaultConfig()
	c.FileSystem, c.BaseSize = fsType, 2<<30
	return c
}

// serve opens the driver and serves it until the test ends.
func serve(t testing.TB, c devmapper.Config) *served {
	t.Helper()
	s, end := serveUntil(t, c)
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("end of the test: %v", err)
		}
	})
	return s
}

// serveUntil is serve until end is called, which removes all snapshots, so
// that the next test finds none.
func serveUntil(t testing.TB, c devmapper.Config) (s *served, end func() error) {
	t.Helper()
	turn.Lock()
	s = start(t, c)
	return s, func() error {
		defer turn.Unlock()
		return errors.Join(empty(s), s.stop())
	}
}

// start opens the driver and serves it until stop is called.
func start(t testing.TB, c devmapper.Config) *served {
	t.Helper()
	p, root := openPool(t)
	d, err := devmapper.Open(context.Background(), p, c, log.L)
	must(t, err)
	dir, err := os.MkdirTemp("", "vs")
	must(t, err)
	address := filepath.Join(dir, "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", address)
	must(t, err)
	g := grpc.NewServer()
	server.New(d, server.DefaultConfig()).Register(g)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(listener) }()
	conn, err := server.Dial(t.Context(), address, 10*time.Second)
	must(t, err)
	return &served{
		fsType: c.FileSystem, config: c, pool: p, driver: d, conn: conn, address: address,
		sn: proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "varve-devmapper"),
		stop: sync.OnceValue(func() error {
			err := conn.Close()
			g.Stop()
			return errors.Join(err, <-ended, d.Close(), leave(root), os.RemoveAll(dir))
		}),
	}
}

// again stops the driver and starts it anew, on a new directory.
func (s *served) again(t testing.TB) error {
	t.Helper()
	if err := s.stop(); err != nil {
		return err
	}
	*s = *start(t, s.config)
	return nil
}

// empty removes every snapshot, children first.
func empty(s *served) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for {
		var keys []string
		if err := s.driver.Walk(ctx, func(_ context.Context, i snapshots.Info) error { keys = append(keys, i.Name); return nil }); err != nil {
			return err
		}
		if len(keys) == 0 {
			return s.driver.Cleanup(ctx)
		}
		removed := false
		for _, key := range keys {
			err := s.driver.Remove(ctx, key)
			removed = removed || err == nil
			if err != nil && !errdefs.IsFailedPrecondition(err) {
				return err
			}
		}
		if !removed {
			return errors.New("nothing can be removed any more: " + keys[0])
		}
	}
}

// held counts the thin devices besides templates.
func held(t testing.TB, s *served) int64 {
	t.Helper()
	list, err := s.pool.Thins(t.Context())
	must(t, err)
	return int64(len(list) - s.driver.Templates())
}
