package guard

import (
	"context"
	"errors"
	"fmt"
)

// extend looks at the volume group and, where the pool wants to grow and it
// has room, extends the pool. Its result is the room before.
func (w *watch) extend(ctx context.Context) {
	s := w.View().Scene
	w.extension.start(func() (Room, error) {
		ctx, cancel := context.WithTimeout(ctx, extendPatience)
		defer cancel()
		bytes, err := w.store.Room(ctx)
		if err != nil {
			return Room{}, fmt.Errorf("look for room in volume group %s: %w", w.limits.Group, err)
		}
		s.Room = Room{Bytes: bytes, Known: true}
		_, by := extension(w.limits, s)
		if by.Zero() {
			return s.Room, nil
		}
		err = w.store.Extend(ctx, by)
		w.metrics.extended(by, err)
		if err != nil {
			return s.Room, fmt.Errorf("by %s of data and %s of metadata: %w", size(by.Data), size(by.Metadata), err)
		}
		w.log.Infof("pool %s has been extended by %s of data and %s of metadata", w.limits.Pool, size(by.Data), size(by.Metadata))
		s.Room.Bytes -= min(s.Room.Bytes, by.Data+by.Metadata)
		return s.Room, nil
	})
}

func (w *watch) extended(r result[Room]) {
	if r.err == nil || r.value.Known {
		w.room = r.value
	}
	if errors.Is(r.err, context.Canceled) {
		r.err = nil // the guard is being closed
	}
	// A group without room is asked ever less often, too: a disk that is
	// added need not help within seconds, and asking it is an LVM command.
	wanted := w.View().Wanted
	empty := r.err == nil && wanted && w.room.Bytes < granule
	w.extension.ended(r.err, r.err != nil || empty)
}

func (w *watch) setBehaviour(ctx context.Context, fail bool) {
	full := w.View().Mode == OutOfData
	w.behaviour.start(func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, extendPatience)
		defer cancel()
		err := w.pool.SetErrorIfFull(ctx, fail)
		switch {
		case err != nil:
		case full && fail:
			w.log.Errorf("pool %s has been full for %s: writes that waited for space fail now", w.limits.Pool, w.limits.QueueFor)
		case fail:
			w.log.Infof("pool %s: writes will fail at once when it is full (out_of_space)", w.limits.Pool)
		default:
			w.log.Infof("pool %s: writes will wait for space when it is full (out_of_space)", w.limits.Pool)
		}
		return struct{}{}, err
	})
}

func (w *watch) behaved(r result[struct{}]) {
	if errors.Is(r.err, context.Canceled) {
		r.err = nil
	}
	w.behaviour.ended(r.err, r.err != nil)
}
