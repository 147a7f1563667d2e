// Package builtin serves containerd's built-in overlay and devmapper drivers,
// with the options containerd gives them by default, over a unix socket: the
// peers of ours where both are to be asked the same way.
package builtin

import (
	"errors"
	"fmt"
	"net"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"google.golang.org/grpc"
)

// Serve serves until the process is ended. The root is the driver's own.
func Serve(root, socket string) error {
	driver, err := overlay.NewSnapshotter(root, overlay.AsynchronousRemove, overlay.WithRemapIDs)
	if err != nil {
		return fmt.Errorf("open the built-in overlay driver in %s: %w", root, err)
	}
	return serve(driver, socket)
}

// serve closes the driver in the end.
func serve(driver snapshots.Snapshotter, socket string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return errors.Join(err, driver.Close())
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(driver))
	return errors.Join(server.Serve(listener), driver.Close())
}
