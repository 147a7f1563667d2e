package setup

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/loop"
)

// withMetadata calls fn with the metadata device of a pool that is not active.
// LVM activates the hidden volume alone, read-only, for the moment.
func (f *Found) withMetadata(ctx context.Context, h *Host, fn func(node string) error) (err error) {
	switch f.Volumes.Kind {
	case pool.KindDevices:
		return fn(f.Volumes.Metadata)
	case pool.KindLoop:
		if node := loopOf(f.Volumes.Metadata); node != "" {
			return fn(node)
		}
		d, err := loop.Attach(ctx, f.Volumes.Metadata, loop.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, loop.Detach(context.WithoutCancel(ctx), d)) }()
		return fn(d.Path)
	}
	v := f.Group.Volume(f.Volumes.Pool)
	if v == nil || v.Metadata == "" {
		return fmt.Errorf("volume group %s has no thin pool %s", f.Group.Name, f.Volumes.Pool)
	}
	node := dm.Path(lvmDevice(f.Group.Name, v.Metadata))
	if _, err := os.Stat(node); err == nil {
		return fn(node)
	}
	name := f.Group.Name + "/" + v.Metadata
	if _, err := h.run(ctx, lvm("lvchange", "--yes", "--activate", "y", name)...); err != nil {
		return err
	}
	defer func() {
		_, downErr := h.run(context.WithoutCancel(ctx), lvm("lvchange", "--yes", "--activate", "n", name)...)
		err = errors.Join(err, downErr)
	}()
	return fn(node)
}
