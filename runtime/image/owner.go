package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/flock"
)

// ownerHeader tells a Varve snapshotter whose snapshots are meant
// (docs/daemons.md); another snapshotter does not look at it. Without it a
// containerd that uses the same daemon would collect our layers, and we its,
// since each knows only its own metadata.
const ownerHeader = "varve-owner"

// owner is the store's name with the snapshotter: chosen once, kept beside
// the metadata, and moved with it.
func owner(root, lockPath string) (string, error) {
	path := filepath.Join(root, "owner")
	name, err := readOwner(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return name, err
	}
	lock, err := flock.Acquire(lockPath)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Release() }()
	name, err = readOwner(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return name, err
	}
	name = Namespace + "-" + uuid.NewString()
	failpoint.Hit("image.owner.create.before")
	err = atomicfile.Write(path, []byte(name+"\n"), 0o600)
	failpoint.Hit("image.owner.create.after")
	return name, err
}

func readOwner(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(text))
	if !strings.HasPrefix(name, Namespace+"-") {
		return "", fmt.Errorf("%s holds %q and not the name under which this store's layers are kept; restore the file, or move the whole store away and load the images again", path, name)
	}
	return name, nil
}

// asOwner adds the header to every call.
func asOwner(name string) []grpc.DialOption {
	with := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, ownerHeader, name)
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(with(ctx), method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(with(ctx), desc, cc, method, opts...)
		}),
	}
}
