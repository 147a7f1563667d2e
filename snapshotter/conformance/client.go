package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

var clientCases = []Case{
	{Name: "a client that stops reading a List holds up nobody", Run: on(stalledList)},
	{Name: "a client that disconnects in mid-call leaves nothing half done", Run: on(disconnect)},
	{Name: "a call whose time is up is answered", Run: on(expired)},
}

// patience is far beyond what one call takes; reaching it is the failure,
// not slowness.
func (r *run) patience() time.Duration {
	if r.Patience > 0 {
		return r.Patience
	}
	return 20 * time.Second
}

// soon gives the case's further calls so many times that long.
func (r *run) soon(calls int) context.CancelFunc {
	ctx, cancel := context.WithTimeout(r.ctx, time.Duration(calls)*r.patience())
	r.ctx = ctx
	return cancel
}

func (r *run) dial() *grpc.ClientConn {
	r.Helper()
	conn, err := grpc.NewClient("unix:"+r.Address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	r.must(err, "connect")
	return conn
}

// stalledList opens a List of far more than a connection buffers, reads one
// message and no more, while another client changes the store by more than
// it can do beside an open read transaction of bbolt.
func stalledList(r *run) {
	r.layer("base", "", func(string) {})
	big := strings.Repeat("v", 4000)
	for i := range 300 {
		_, err := r.sn.View(r.ctx, fmt.Sprint("view", i), "base", label("big", big))
		r.must(err, "View")
	}
	conn := r.dial()
	defer conn.Close()
	list, err := snapshotsapi.NewSnapshotsClient(conn).List(r.ctx, &snapshotsapi.ListSnapshotsRequest{Snapshotter: name})
	r.must(err, "List")
	_, err = list.Recv()
	r.must(err, "first message of List")

	timely := func(what string, fn func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(r.ctx, r.patience())
		defer cancel()
		r.must(fn(ctx), what+" beside a stalled List")
	}
	for i := range 300 {
		key := fmt.Sprint("more", i)
		timely("Prepare", func(ctx context.Context) error {
			_, err := r.sn.Prepare(ctx, key, "base", label("big", big))
			return err
		})
		if i%2 == 0 {
			timely("Remove", func(ctx context.Context) error { return r.sn.Remove(ctx, key) })
		}
	}
	timely("Commit", func(ctx context.Context) error { return r.sn.Commit(ctx, "done", "more1") })
}

// disconnect cuts calls off at all kinds of moments, seeded.
func disconnect(r *run) {
	random := rand.New(rand.NewPCG(1, 1))
	r.layer("base", "", func(dir string) { r.write(dir, "f", "x") })
	r.cleanup()
	before := r.Held(r)
	for i := range 60 {
		conn := r.dial()
		sn := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), name)
		key := fmt.Sprint("key", i)
		kind := i % 3
		if kind > 0 {
			r.prepare(key, "base")
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			switch kind {
			case 0:
				_, _ = sn.Prepare(r.ctx, key, "base")
			case 1:
				_ = sn.Commit(r.ctx, key+"c", key)
			case 2:
				_ = sn.Remove(r.ctx, key)
			}
		}()
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		_ = conn.Close()
		<-answered
	}
	r.settle()
	for _, key := range r.list("kind==active") {
		m, err := r.sn.Mounts(r.ctx, key)
		r.must(err, "Mounts of what a cut call left")
		r.mounted(m, func(dir string) { r.holds(dir, "f", "x"); r.write(dir, "g", "y") })
	}
	for _, key := range r.list() {
		if key == "base" {
			continue
		}
		if strings.HasSuffix(key, "c") {
			r.look(key, func(dir string) { r.holds(dir, "f", "x") })
		}
		r.remove(key)
	}
	r.cleanup()
	if after := r.Held(r); after > before {
		r.Errorf("%d units are held after all was removed, %d before", after, before)
	}
}

// settle waits until a cut call that still runs in the daemon has ended:
// whatever it does to the store shows in two equal lists around a call that
// queues behind it.
func (r *run) settle() {
	r.Helper()
	for i := range 200 {
		before := r.list()
		key := fmt.Sprint("settle", i)
		r.prepare(key, "")
		r.remove(key)
		if strings.Join(before, "\n") == strings.Join(r.list(), "\n") {
			return
		}
	}
	r.Fatalf("the list of snapshots goes on changing with no client left")
}

func expired(r *run) {
	ctx, cancel := context.WithDeadline(r.ctx, time.Now().Add(-time.Second))
	defer cancel()
	_, err := r.sn.Prepare(ctx, "a", "")
	r.refused(err, errdefs.IsDeadlineExceeded, "Prepare after its deadline", "DeadlineExceeded")
	_, err = r.sn.Stat(r.ctx, "a")
	r.refused(err, errdefs.IsNotFound, "Stat of what was never begun", "NotFound")
	for range 20 {
		ctx, cancel := context.WithTimeout(r.ctx, 500*time.Microsecond)
		_, _ = r.sn.Prepare(ctx, "b", "")
		_ = r.sn.Walk(ctx, func(context.Context, snapshots.Info) error { return nil })
		cancel()
	}
	defer r.soon(2)()
	r.settle()
	r.prepare("after", "")
}
