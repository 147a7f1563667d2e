package file

import (
	"context"
	"fmt"
	"os"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/loop"
)

// Expand implements volume.Backend.
func (b *Backend) Expand(_ context.Context, id string, size int64) (volume.Volume, error) {
	v, err := b.Volume(id)
	if err != nil {
		return volume.Volume{}, fmt.Errorf("expand: %w", err)
	}
	if size <= v.Size {
		return v, nil
	}
	fail := func(err error) (volume.Volume, error) {
		return volume.Volume{}, fmt.Errorf("expand volume %s to %d bytes: %w", id, size, err)
	}
	release, err := b.reserve("volume "+v.Name, size-v.Size)
	if err != nil {
		return fail(err)
	}
	defer release()
	err = volume.Effect("csi.expand.journal", func() error {
		return b.journal.Begin(volume.Entry{Op: volume.OpExpand, ID: id, Size: size})
	})
	if err != nil {
		return fail(err)
	}
	// From here on the intent stays until it is fulfilled: an image that is
	// longer than its record is cut by nobody, since its end may be in use.
	v.Size = size
	if err := b.lengthen(v); err != nil {
		return fail(err)
	}
	b.catalog.change(func() { b.catalog.volumes[id] = v })
	err = volume.Effect("csi.expand.done", func() error { return b.journal.Done(id) })
	if err != nil {
		return fail(err)
	}
	return v, nil
}

// lengthen gives image, record and devices of v its size.
func (b *Backend) lengthen(v volume.Volume) error {
	image := b.pool.image("volumes", v.ID)
	err := volume.Effect("csi.expand.truncate", func() error {
		info, err := os.Stat(image)
		if err != nil || info.Size() >= v.Size {
			return err
		}
		if err := os.Truncate(image, v.Size); err != nil {
			return noRoom(err)
		}
		return syncFile(image)
	})
	if err != nil {
		return err
	}
	err = volume.Effect("csi.expand.record", func() error {
		return atomicfile.WriteJSON(b.pool.path("volumes", v.ID, volumeName), v)
	})
	if err != nil {
		return err
	}
	return volume.Effect("csi.expand.resize", func() error {
		found, err := loop.Find(image)
		if err != nil {
			return err
		}
		for _, d := range found {
			if err := loop.Resize(d.Path); err != nil {
				return err
			}
		}
		return nil
	})
}
