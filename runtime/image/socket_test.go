package image_test

import (
	"context"
	"errors"
	"io"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func dialSnapshotter(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// listSnapshots asks the snapshotter itself, past the store under test, as
// each of the owners; "" is a client that names none.
func listSnapshots(conn *grpc.ClientConn, name string, owners ...string) (keys []string, err error) {
	for _, owner := range owners {
		ctx := context.Background()
		if owner != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "varve-owner", owner)
		}
		more, err := listOwned(ctx, conn, name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

func listOwned(ctx context.Context, conn *grpc.ClientConn, name string) (keys []string, err error) {
	stream, err := snapshotsapi.NewSnapshotsClient(conn).List(ctx, &snapshotsapi.ListSnapshotsRequest{Snapshotter: name})
	if err != nil {
		return nil, err
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.NotFound {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		for _, info := range answer.Info {
			keys = append(keys, info.Name)
		}
	}
}
