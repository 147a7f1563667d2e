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
	return f.withVolume(ctx, h, v.Metadata, fn)
}

// withVolume calls fn with the node of a volume, active for the moment.
func (f *Found) withVolume(ctx context.Context, h *Host, volume string, fn func(node string) error) (err error) {
	node := dm.Path(lvmDevice(f.Group.Name, volume))
	if _, err := os.Stat(node); err == nil {
		return fn(node)
	}
	name := f.Group.Name + "/" + volume
	if _, err := h.run(ctx, lvm("lvchange", "--yes", "--activate", "y", name)...); err != nil {
		return err
	}
	defer func() {
		_, downErr := h.run(context.WithoutCancel(ctx), lvm("lvchange", "--yes", "--activate", "n", name)...)
		err = errors.Join(err, downErr)
	}()
	return fn(node)
}

// recordAwake is readRecord that activates the catalog's volume for the moment
// where it is not active.
func (f *Found) recordAwake(ctx context.Context, h *Host) (r Record, err error) {
	if f.Catalog != "" || !f.Volumes.Kind.LVM() || f.Group.Volume(f.Volumes.Catalog) == nil {
		r, _, err = f.readRecord()
		return r, err
	}
	awake := *f
	err = f.withVolume(ctx, h, f.Volumes.Catalog, func(node string) error {
		awake.Catalog = node
		r, _, err = awake.readRecord()
		return err
	})
	return r, err
}
