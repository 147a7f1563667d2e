// Package server serves a driver as containerd's snapshots service
// (containerd.services.snapshots.v1), over contrib/snapshotservice.
//
// It adds what a node needs and a driver need not know: a deadline for every
// call, kept even when the driver hangs in the kernel; a List that is
// collected before it is streamed, so that a client that stops reading holds
// nothing; busy resources answered with FAILED_PRECONDITION, at which
// containerd's garbage collection goes on; several masters on one daemon that
// do not see each other's snapshots (OwnerHeader); and an Audit call.
package server

import (
	"context"
	"fmt"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/snapshotter"
)

// Server answers the snapshots service. Make it with New.
type Server struct {
	snapshotsapi.UnimplementedSnapshotsServer
	driver snapshotter.Driver
	inner  snapshotsapi.SnapshotsServer
	config Config
	calls  chan struct{}
	crew   crew
}

// New returns a server of driver. The caller closes the driver after the
// last call.
func New(driver snapshotter.Driver, config Config) *Server {
	return &Server{
		driver: driver,
		inner:  snapshotservice.FromSnapshotter(owned{mapped{driver}}),
		config: config,
		calls:  make(chan struct{}, config.MaxCalls),
		crew:   crew{next: make(chan func())},
	}
}

// Register registers the snapshots service and the admin service.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	snapshotsapi.RegisterSnapshotsServer(g, s)
	g.RegisterService(&adminDesc, s)
}

func (s *Server) call() time.Duration { return time.Duration(s.config.CallTimeout) }

// Prepare serves the call of that name; so do the methods below.
func (s *Server) Prepare(ctx context.Context, r *snapshotsapi.PrepareSnapshotRequest) (*snapshotsapi.PrepareSnapshotResponse, error) {
	return within(ctx, s, s.call(), r, s.inner.Prepare)
}

func (s *Server) View(ctx context.Context, r *snapshotsapi.ViewSnapshotRequest) (*snapshotsapi.ViewSnapshotResponse, error) {
	return within(ctx, s, s.call(), r, s.inner.View)
}

func (s *Server) Mounts(ctx context.Context, r *snapshotsapi.MountsRequest) (*snapshotsapi.MountsResponse, error) {
	return within(ctx, s, s.call(), r, s.inner.Mounts)
}

func (s *Server) Commit(ctx context.Context, r *snapshotsapi.CommitSnapshotRequest) (*types.Empty, error) {
	return within(ctx, s, s.call(), r, s.inner.Commit)
}

func (s *Server) Remove(ctx context.Context, r *snapshotsapi.RemoveSnapshotRequest) (*types.Empty, error) {
	return within(ctx, s, s.call(), r, s.inner.Remove)
}

func (s *Server) Stat(ctx context.Context, r *snapshotsapi.StatSnapshotRequest) (*snapshotsapi.StatSnapshotResponse, error) {
	return within(ctx, s, s.call(), r, s.inner.Stat)
}

func (s *Server) Update(ctx context.Context, r *snapshotsapi.UpdateSnapshotRequest) (*snapshotsapi.UpdateSnapshotResponse, error) {
	if r.GetInfo() == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("info is missing: %w", errdefs.ErrInvalidArgument))
	}
	return within(ctx, s, s.call(), r, s.inner.Update)
}

func (s *Server) Usage(ctx context.Context, r *snapshotsapi.UsageRequest) (*snapshotsapi.UsageResponse, error) {
	return within(ctx, s, time.Duration(s.config.UsageTimeout), r, s.inner.Usage)
}

func (s *Server) Cleanup(ctx context.Context, r *snapshotsapi.CleanupRequest) (*types.Empty, error) {
	return within(ctx, s, time.Duration(s.config.CleanupTimeout), r, s.inner.Cleanup)
}

// listBlock is how many snapshots one message of List carries, as in
// containerd's own service.
const listBlock = 100

// List collects first and sends then.
func (s *Server) List(r *snapshotsapi.ListSnapshotsRequest, stream snapshotsapi.Snapshots_ListServer) error {
	list, err := within(stream.Context(), s, s.call(), r.Filters, s.collect)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- send(list, stream) }()
	limit := time.NewTimer(time.Duration(s.config.ListTimeout))
	defer limit.Stop()
	select {
	case err := <-sent:
		return err
	case <-limit.C:
		// Returning ends the stream, and with it the blocked Send.
		return errgrpc.ToGRPC(fmt.Errorf("list: the client did not read the answer within %s (list_timeout): %w", time.Duration(s.config.ListTimeout), context.DeadlineExceeded))
	}
}

func (s *Server) collect(ctx context.Context, filters []string) (list []*snapshotsapi.Info, err error) {
	err = owned{mapped{s.driver}}.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		list = append(list, proxy.InfoToProto(info))
		return nil
	}, filters...)
	return list, errgrpc.ToGRPC(err)
}

func send(list []*snapshotsapi.Info, stream snapshotsapi.Snapshots_ListServer) error {
	for len(list) > 0 {
		n := min(len(list), listBlock)
		if err := stream.Send(&snapshotsapi.ListSnapshotsResponse{Info: list[:n]}); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
