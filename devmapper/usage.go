package devmapper

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// Usage returns what a snapshot holds besides its parent's: the blocks and
// inodes that its file system has in use, less those that the parent's had.
// Not the blocks of the pool that its device maps, for these are shared with
// the parent, and are not given back by deleting files. It costs the same
// however much there is.
//
// Of a snapshot that a virtual machine has open it is what the superblock
// says, which is as of the machine's last unmount.
func (d *Driver) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	u, err := d.usage(ctx, key)
	if err != nil {
		return snapshots.Usage{}, fmt.Errorf("usage of snapshot %q: %w", key, err)
	}
	return u, nil
}

func (d *Driver) usage(ctx context.Context, key string) (u snapshots.Usage, err error) {
	release, err := d.keys.take(ctx, key)
	if err != nil {
		return u, err
	}
	defer release()
	r, dev, err := d.find(ctx, key)
	if err != nil {
		return u, err
	}
	switch r.Info.Kind {
	case snapshots.KindView:
		return u, nil // nothing is written to it
	case snapshots.KindCommitted:
		return r.Usage, nil
	}
	path, open, err := d.wake(ctx, dev)
	if err != nil {
		return u, err
	}
	mounted := false
	if open > 0 {
		if mounted, err = mountedHere(path, dev.FSType); err != nil {
			return u, err
		}
	}
	var held fill
	if mounted {
		held, err = live(path, dev)
	} else {
		_, held, err = onDisk(path, dev.FSType)
	}
	if err != nil {
		return u, err
	}
	own := held.own(dev.Base)
	return snapshots.Usage{Size: own.Bytes, Inodes: own.Inodes}, nil
}
