package image

import (
	"context"
	"fmt"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/internal/failpoint"
)

// callTimeout bounds one call to the snapshotter that came without a deadline,
// so that a daemon that hangs cannot hold our locks for ever.
const callTimeout = 2 * time.Minute

// dial prepares a connection; it is made by the first call.
func dial(name, address string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+address, append(opts,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if _, ok := ctx.Deadline(); !ok {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, callTimeout)
				defer cancel()
			}
			return explain(name, address, invoke(ctx, method, req, reply, cc, opts...))
		}))...)
}

// explain turns "no answer" into what a person must do; err is gRPC's own or
// what the proxy made of it.
func explain(name, address string, err error) error {
	const text = "snapshotter %s does not answer on %s (%s); start it with `varve up`, or name another with --snapshotter"
	switch {
	case status.Code(err) == codes.Unavailable:
		return status.Errorf(codes.Unavailable, text, name, address, status.Convert(err).Message())
	case errdefs.IsUnavailable(err):
		return fmt.Errorf(text+": %w", name, address, err, errdefs.ErrUnavailable)
	}
	return err
}

// backend is the snapshotter behind its socket, with the failpoints of its
// mutating calls.
type backend struct{ snapshots.Snapshotter }

func newBackend(conn *grpc.ClientConn, name string) *backend {
	return &backend{proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), name)}
}

func (b *backend) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	failpoint.Hit("image.snapshot.prepare.before")
	m, err := b.Snapshotter.Prepare(ctx, key, parent, opts...)
	failpoint.Hit("image.snapshot.prepare.after")
	return m, err
}

func (b *backend) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	failpoint.Hit("image.snapshot.view.before")
	m, err := b.Snapshotter.View(ctx, key, parent, opts...)
	failpoint.Hit("image.snapshot.view.after")
	return m, err
}

func (b *backend) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	failpoint.Hit("image.snapshot.commit.before")
	err := b.Snapshotter.Commit(ctx, name, key, opts...)
	failpoint.Hit("image.snapshot.commit.after")
	return err
}

func (b *backend) Remove(ctx context.Context, key string) error {
	failpoint.Hit("image.snapshot.remove.before")
	err := b.Snapshotter.Remove(ctx, key)
	failpoint.Hit("image.snapshot.remove.after")
	return err
}

// cleanup waits until the snapshotter has really deleted what was removed.
func (b *backend) cleanup(ctx context.Context) error {
	c, ok := b.Snapshotter.(snapshots.Cleaner)
	if !ok {
		return nil
	}
	failpoint.Hit("image.snapshot.cleanup.before")
	err := c.Cleanup(ctx)
	failpoint.Hit("image.snapshot.cleanup.after")
	if errdefs.IsNotImplemented(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean up after removed snapshots: %w", err)
	}
	return nil
}

// gated is the metadata's snapshotter for layers. Its Prepare makes the
// snapshot first and the record after; a collection between the two would
// take the snapshot for an orphan.
type gated struct {
	snapshots.Snapshotter
	gate gate
}

func (g *gated) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	pass, err := g.gate.pass()
	if err != nil {
		return nil, err
	}
	defer func() { _ = pass.Release() }()
	return g.Snapshotter.Prepare(ctx, key, parent, opts...)
}

// Remove of what is gone is no error: core/unpack removes the snapshot of a
// layer that failed, and later once more.
func (g *gated) Remove(ctx context.Context, key string) error {
	err := g.Snapshotter.Remove(ctx, key)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
