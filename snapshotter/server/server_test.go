package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/service"
	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/server"
)

// driver is a snapshotter of the test's own making; what a test does not
// set panics.
type driver struct {
	snapshotter.Driver
	remove func(ctx context.Context, key string) error
	walk   func(ctx context.Context, fn snapshots.WalkFunc) error
	mounts func(ctx context.Context, key string) ([]mount.Mount, error)
	audit  func(ctx context.Context, fix bool) (finding.List, error)
}

func (d driver) Remove(ctx context.Context, key string) error { return d.remove(ctx, key) }
func (d driver) Walk(ctx context.Context, fn snapshots.WalkFunc, _ ...string) error {
	return d.walk(ctx, fn)
}
func (d driver) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	return d.mounts(ctx, key)
}
func (d driver) Audit(ctx context.Context, fix bool) (finding.List, error) { return d.audit(ctx, fix) }

func serve(t *testing.T, d driver, config server.Config) (*grpc.ClientConn, snapshotsapi.SnapshotsClient) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	server.New(d, config).Register(g)
	go func() { _ = g.Serve(l) }()
	conn, err := server.Dial(t.Context(), socket, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); g.Stop() })
	return conn, snapshotsapi.NewSnapshotsClient(conn)
}

func code(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestHungDriver: a driver that hangs in the kernel and never looks at its
// context fails its calls and no others, and only as many as max_calls.
func TestHungDriver(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	config := server.DefaultConfig()
	config.CallTimeout, config.MaxCalls = service.Duration(50*time.Millisecond), 3
	_, c := serve(t, driver{
		remove: func(context.Context, string) error { <-hold; return nil },
		mounts: func(context.Context, string) ([]mount.Mount, error) { return nil, nil },
	}, config)
	// A first call leaves a goroutine behind for the next, which then hangs.
	_, err := c.Mounts(t.Context(), &snapshotsapi.MountsRequest{Key: "a"})
	code(t, err, codes.OK)
	for range 2 {
		_, err := c.Remove(t.Context(), &snapshotsapi.RemoveSnapshotRequest{Key: "a"})
		code(t, err, codes.DeadlineExceeded)
	}
	_, err = c.Mounts(t.Context(), &snapshotsapi.MountsRequest{Key: "a"})
	code(t, err, codes.OK)
	_, err = c.Remove(t.Context(), &snapshotsapi.RemoveSnapshotRequest{Key: "a"})
	code(t, err, codes.DeadlineExceeded)
	_, err = c.Mounts(t.Context(), &snapshotsapi.MountsRequest{Key: "a"})
	code(t, err, codes.ResourceExhausted)
}

func TestKernelErrorsGetTheirMeaning(t *testing.T) {
	var answer error
	_, c := serve(t, driver{remove: func(context.Context, string) error { return answer }}, server.DefaultConfig())
	for errno, want := range map[error]codes.Code{
		unix.EBUSY: codes.FailedPrecondition, unix.ENOSPC: codes.ResourceExhausted,
		unix.EDQUOT: codes.ResourceExhausted, unix.EROFS: codes.Unavailable, unix.EIO: codes.Unknown,
		context.DeadlineExceeded: codes.DeadlineExceeded,
	} {
		answer = fmt.Errorf("remove layer: %w", errno)
		_, err := c.Remove(t.Context(), &snapshotsapi.RemoveSnapshotRequest{Key: "a"})
		code(t, err, want)
		if !strings.Contains(err.Error(), "remove layer") {
			t.Errorf("%v has lost its cause", err)
		}
	}
}

// TestListIsCollectedFirst: the driver's Walk is over before the client has
// read anything, and a client that never reads is cut off.
func TestListIsCollectedFirst(t *testing.T) {
	walked := make(chan struct{})
	config := server.DefaultConfig()
	config.ListTimeout = service.Duration(200 * time.Millisecond)
	_, c := serve(t, driver{walk: func(ctx context.Context, fn snapshots.WalkFunc) error {
		for i := range 2000 {
			err := fn(ctx, snapshots.Info{Name: fmt.Sprint(i), Kind: snapshots.KindActive, Labels: map[string]string{"k": strings.Repeat("v", 4000)}})
			if err != nil {
				return err
			}
		}
		close(walked)
		return nil
	}}, config)
	list, err := c.List(t.Context(), &snapshotsapi.ListSnapshotsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-walked
	time.Sleep(2 * time.Duration(config.ListTimeout))
	for err == nil {
		_, err = list.Recv()
	}
	code(t, err, codes.DeadlineExceeded)
}

func TestListFailure(t *testing.T) {
	_, c := serve(t, driver{walk: func(context.Context, snapshots.WalkFunc) error { return errors.New("planted") }}, server.DefaultConfig())
	list, err := c.List(t.Context(), &snapshotsapi.ListSnapshotsRequest{})
	if err == nil {
		_, err = list.Recv()
	}
	code(t, err, codes.Unknown)
}

func TestUpdateWithoutInfo(t *testing.T) {
	_, c := serve(t, driver{}, server.DefaultConfig())
	_, err := c.Update(t.Context(), &snapshotsapi.UpdateSnapshotRequest{})
	code(t, err, codes.InvalidArgument)
}

func TestAudit(t *testing.T) {
	conn, _ := serve(t, driver{audit: func(_ context.Context, fix bool) (finding.List, error) {
		if !fix {
			return nil, nil
		}
		return finding.List{{ID: "x.y.z", Severity: finding.Warning, Object: "\xff"}}, nil
	}}, server.DefaultConfig())
	list, err := server.Audit(t.Context(), conn, false)
	if err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	list, err = server.Audit(t.Context(), conn, true)
	if err != nil || len(list) != 1 || list[0].ID != "x.y.z" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestConfigCheck(t *testing.T) {
	if err := server.DefaultConfig().Check(); err != nil {
		t.Errorf("the shipped configuration: %v", err)
	}
	for key, spoil := range map[string]func(*server.Config){
		"call_timeout":    func(c *server.Config) { c.CallTimeout = 0 },
		"usage_timeout":   func(c *server.Config) { c.UsageTimeout = -1 },
		"cleanup_timeout": func(c *server.Config) { c.CleanupTimeout = 0 },
		"list_timeout":    func(c *server.Config) { c.ListTimeout = 0 },
		"max_calls":       func(c *server.Config) { c.MaxCalls = 0 },
	} {
		c := server.DefaultConfig()
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%v, want an error that names %s", err, key)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	_, err := server.Dial(t.Context(), filepath.Join(t.TempDir(), "no"), time.Second)
	if !server.NobodyListens(err) {
		t.Errorf("%v: want it to mean that nobody listens", err)
	}
}
