package builtin

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
)

// Devmapper says where containerd's built-in devmapper driver works.
type Devmapper struct {
	// Root is for its two databases.
	Root string
	// Pool is the name of a thin pool that is there, as of /dev/mapper.
	Pool string
	// BaseSize of each device, "2GiB".
	BaseSize string
	// Discard is its discard_blocks, which is off unless configured.
	Discard bool
}

// ServeDevmapper serves the built-in devmapper driver, otherwise with the
// options that containerd gives it by default, until the process is ended.
func ServeDevmapper(ctx context.Context, c Devmapper, socket string) error {
	driver, err := devmapper.NewSnapshotter(ctx, &devmapper.Config{
		RootPath: c.Root, PoolName: c.Pool, BaseImageSize: c.BaseSize,
		DiscardBlocks: c.Discard, FileSystemType: "ext4",
	})
	if err != nil {
		return fmt.Errorf("open the built-in devmapper driver on the pool %s: %w", c.Pool, err)
	}
	return serve(driver, socket)
}
