package file

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/loop"
)

// Attach implements volume.Backend.
func (b *Backend) Attach(ctx context.Context, id string, readOnly bool) (volume.Device, error) {
	v, err := b.Volume(id)
	if err != nil {
		return volume.Device{}, fmt.Errorf("attach: %w", err)
	}
	d, attached, err := b.attached(id, readOnly)
	if err != nil {
		return volume.Device{}, fmt.Errorf("attach volume %s: %w", id, err)
	}
	if !attached {
		err = volume.Effect("csi.attach.loop", func() error {
			d, err = loop.Attach(ctx, b.pool.image("volumes", id), loop.Options{ReadOnly: readOnly})
			return err
		})
		if err != nil {
			return volume.Device{}, fmt.Errorf("attach volume %s: %w", id, err)
		}
	}
	if d.Size != v.Size {
		if err := loop.Resize(d.Path); err != nil {
			return volume.Device{}, fmt.Errorf("attach volume %s: %w", id, err)
		}
		d.Size = v.Size
	}
	return device(d), nil
}

// Attached implements volume.Backend.
func (b *Backend) Attached(id string, readOnly bool) (volume.Device, bool, error) {
	if _, err := b.Volume(id); absent(err) {
		return volume.Device{}, false, nil
	}
	d, attached, err := b.attached(id, readOnly)
	return device(d), attached, err
}

func (b *Backend) attached(id string, readOnly bool) (loop.Device, bool, error) {
	found, err := loop.Find(b.pool.image("volumes", id))
	if err != nil {
		return loop.Device{}, false, err
	}
	for _, d := range found {
		if d.ReadOnly == readOnly {
			return d, true, nil
		}
	}
	return loop.Device{}, false, nil
}

// Detach implements volume.Backend.
func (b *Backend) Detach(ctx context.Context, id string, readOnly bool) error {
	if _, err := b.Volume(id); absent(err) {
		return nil
	}
	for {
		d, attached, err := b.attached(id, readOnly)
		if err != nil {
			return fmt.Errorf("detach volume %s: %w", id, err)
		}
		if !attached {
			return nil
		}
		err = volume.Effect("csi.detach.loop", func() error { return loop.Detach(ctx, d) })
		if errors.Is(err, loop.ErrBusy) {
			return fmt.Errorf("detach volume %s: %w: %w", id, volume.ErrInUse, err)
		}
		if err != nil {
			return fmt.Errorf("detach volume %s: %w", id, err)
		}
	}
}

func device(d loop.Device) volume.Device {
	return volume.Device{Path: d.Path, Number: d.Number, Size: d.Size, Source: d.Backing}
}
