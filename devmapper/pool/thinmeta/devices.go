package thinmeta

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/containerd/errdefs"
)

// maxDevice is the highest id of a thin device (MAX_DEV_ID in dm-thin.c).
const maxDevice = 1<<24 - 1

// detailsSize is that of struct disk_device_details.
const detailsSize = 24

// Device is what the pool records of a thin device.
type Device struct {
	ID uint32
	// MappedBlocks counts the data blocks that it maps, shared ones included.
	MappedBlocks uint64
	// TransactionID is the pool's when the device was made.
	TransactionID uint64
	// CreationTime and SnapshottedTime are on the pool's clock, which counts
	// snapshots (Superblock.Time): when the device was made, and when the
	// last snapshot of it, or it as one, was.
	CreationTime    uint32
	SnapshottedTime uint32
}

// Devices returns all thin devices in the order of their ids.
func (m *Metadata) Devices(ctx context.Context) ([]Device, error) {
	var devices []Device
	err := m.details().walk(ctx, func(key uint64, value []byte) error {
		d, err := m.device(key, value)
		devices = append(devices, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("thin devices: %w", err)
	}
	return devices, nil
}

// Device returns one thin device; errdefs.ErrNotFound when the pool has none
// of that id.
func (m *Metadata) Device(ctx context.Context, id uint32) (Device, error) {
	value, err := m.details().lookup(ctx, uint64(id))
	if err != nil {
		return Device{}, fmt.Errorf("thin device %d: %w", id, err)
	}
	if value == nil {
		return Device{}, fmt.Errorf("thin device %d: %w in the pool's metadata", id, errdefs.ErrNotFound)
	}
	return m.device(uint64(id), value)
}

func (m *Metadata) details() tree {
	return tree{r: m.r, root: m.super.DeviceDetailsRoot, valueSize: detailsSize}
}

func (m *Metadata) device(key uint64, value []byte) (Device, error) {
	if key > maxDevice {
		return Device{}, corrupt(m.super.DeviceDetailsRoot, "tree has the details of thin device %d, ids end at %d", key, maxDevice)
	}
	le := binary.LittleEndian
	return Device{
		ID:              uint32(key),
		MappedBlocks:    le.Uint64(value),
		TransactionID:   le.Uint64(value[8:]),
		CreationTime:    le.Uint32(value[16:]),
		SnapshottedTime: le.Uint32(value[20:]),
	}, nil
}
