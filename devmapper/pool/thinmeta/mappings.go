package thinmeta

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/containerd/errdefs"
)

// Run is a stretch of a thin device's blocks that lie one behind the other on
// the data device and were written in one time of the pool's clock. All in
// data blocks.
type Run struct {
	// Virtual is its first block in the thin device, Data that on the data
	// device, Length the count.
	Virtual, Data, Length uint64
	// Time is the pool's when the blocks were mapped: a block older than its
	// device's SnapshottedTime is shared, or was once.
	Time uint32
}

// Mappings calls fn with the runs of a thin device, in their order in the
// device, each as long as it can be. An error of fn ends the walk and is
// returned. errdefs.ErrNotFound when the pool has no such device.
func (m *Metadata) Mappings(ctx context.Context, id uint32, fn func(Run) error) error {
	t, err := m.mappings(ctx, id)
	if err != nil {
		return fmt.Errorf("thin device %d: %w", id, err)
	}
	var run Run
	err = t.walk(ctx, func(virtual uint64, value []byte) error {
		data, time := unpackBlockTime(value)
		if run.Length > 0 && virtual == run.Virtual+run.Length && data == run.Data+run.Length && time == run.Time {
			run.Length++
			return nil
		}
		done := run
		run = Run{Virtual: virtual, Data: data, Length: 1, Time: time}
		if done.Length == 0 {
			return nil
		}
		return fn(done)
	})
	if err == nil && run.Length > 0 {
		err = fn(run)
	}
	if err != nil {
		return fmt.Errorf("mappings of thin device %d: %w", id, err)
	}
	return nil
}

// mappings finds the mapping tree of a thin device in the upper tree.
func (m *Metadata) mappings(ctx context.Context, id uint32) (tree, error) {
	upper := tree{r: m.r, root: m.super.DataMappingRoot, valueSize: 8}
	value, err := upper.lookup(ctx, uint64(id))
	if err != nil {
		return tree{}, err
	}
	if value == nil {
		return tree{}, fmt.Errorf("%w in the pool's metadata", errdefs.ErrNotFound)
	}
	return tree{r: m.r, root: binary.LittleEndian.Uint64(value), valueSize: 8}, nil
}

// unpackBlockTime splits a mapping's value: 40 bits of data block over 24 bits
// of time.
func unpackBlockTime(value []byte) (block uint64, time uint32) {
	v := binary.LittleEndian.Uint64(value)
	return v >> 24, uint32(v & (1<<24 - 1)) //nolint:gosec // 24 bits
}
