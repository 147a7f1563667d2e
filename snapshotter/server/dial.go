package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Dial connects to a snapshotter's socket, within limit. The caller closes
// the connection.
func Dial(ctx context.Context, address string, limit time.Duration) (*grpc.ClientConn, error) {
	// gRPC connects when first used and tells little about why it cannot;
	// so knock first.
	knock := net.Dialer{Timeout: limit}
	c, err := knock.DialContext(ctx, "unix", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	return grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// NobodyListens tells whether Dial failed because no daemon is there.
func NobodyListens(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}
