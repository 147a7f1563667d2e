package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/failpoint"
)

// NewID implements Devices.
func (p *Pool) NewID(ctx context.Context) (ThinID, error) {
	id, err := p.ids.take(ctx)
	if err != nil {
		return 0, fmt.Errorf("new thin id in %s: %w", p.where(), err)
	}
	return id, nil
}

// Create implements Devices: one message.
func (p *Pool) Create(ctx context.Context, id ThinID) error {
	if err := id.check(); err != nil {
		return fmt.Errorf("create thin device: %w", err)
	}
	return p.run(ctx, task{
		what: "create " + p.thin(id),
		ids:  []ThinID{id},
		do: func(context.Context) error {
			return p.message("pool.create.message", "create_thin %d", id)
		},
		undo: func() { p.takeBack(id) },
	})
}

// Snapshot implements Devices: one message, between a suspend and a resume
// where origin is active.
func (p *Pool) Snapshot(ctx context.Context, id, origin ThinID) error {
	if err := errors.Join(id.check(), origin.check()); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if id == origin {
		return fmt.Errorf("snapshot: %d of itself: %w", id, errdefs.ErrInvalidArgument)
	}
	return p.run(ctx, task{
		what: fmt.Sprintf("snapshot %d of %s", id, p.thin(origin)),
		ids:  []ThinID{id, origin},
		do:   func(ctx context.Context) error { return p.snapshotOf(ctx, id, origin) },
		undo: func() { p.takeBack(id) },
	})
}

func (p *Pool) snapshotOf(ctx context.Context, id, origin ThinID) (err error) {
	active, err := p.hold(origin, "pool.snapshot", dm.SuspendOptions{})
	if err != nil {
		return err
	}
	if active {
		defer func() {
			resumed := p.letGo(origin, "pool.snapshot")
			if err == nil && resumed != nil {
				p.takeBack(id)
			}
			err = errors.Join(err, resumed)
		}()
	}
	if err := over(ctx); err != nil {
		return err
	}
	err = p.message("pool.snapshot.message", "create_snap %d %d", id, origin)
	if errors.Is(err, unix.ENODATA) {
		return fmt.Errorf("the pool has no thin device %d: %w", origin, err)
	}
	return err
}

// hold suspends the block device of id, and tells whether there is one. With
// no options the file system on it is frozen and all its data is written:
// never NoFlush before a snapshot, which would catch the file system in
// mid-write (the kernel takes NoFlush for "and do not freeze" as well).
func (p *Pool) hold(id ThinID, point string, o dm.SuspendOptions) (active bool, err error) {
	failpoint.Hit(point + ".suspend.before")
	err = p.ctl.Suspend(p.names.thin(id), o)
	failpoint.Hit(point + ".suspend.after")
	if errors.Is(err, unix.ENXIO) {
		return false, nil
	}
	return err == nil, err
}

// letGo ends hold. It runs whatever happened in between.
func (p *Pool) letGo(id ThinID, point string) error {
	failpoint.Hit(point + ".resume.before")
	err := p.ctl.Resume(p.names.thin(id))
	failpoint.Hit(point + ".resume.after")
	if err != nil {
		return fmt.Errorf("%s stays suspended, its users hang; run `dmsetup resume %s`, or restart the daemon, which resumes it: %w", p.thin(id), p.names.thin(id), err)
	}
	return nil
}

// takeBack deletes a thin device that nobody has been told of. When even that
// fails it is left to Reclaim.
func (p *Pool) takeBack(id ThinID) {
	if _, err := p.ctl.Message(p.device, 0, fmt.Sprintf("delete %d", id)); err != nil {
		p.log.WithError(err).Warnf("%s was made for a caller who had gone; the next start reclaims it", p.thin(id))
	}
}
