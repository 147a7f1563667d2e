package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Delete implements Devices: one message. With discard_on_delete the blocks
// are discarded before, see discard.
func (p *Pool) Delete(ctx context.Context, id ThinID) error {
	if err := id.check(); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return p.run(ctx, task{
		what: "delete " + p.thin(id),
		ids:  []ThinID{id},
		slow: p.discards(),
		do: func(ctx context.Context) error {
			if p.discards() {
				if err := p.discard(ctx, id); err != nil {
					return err
				}
			}
			return p.delete(ctx, id)
		},
	})
}

// discards tells whether deletions are to reach the disk, and can.
func (p *Pool) discards() bool { return p.config.DiscardOnDelete && p.passdown }

// goingFor is how long the kernel may take to let go of a thin device whose
// block device is gone, or is going: after a deferred removal it does both in
// the background, the name first.
const goingFor = 2 * time.Second

func (p *Pool) delete(ctx context.Context, id ThinID) error {
	for end := time.Now().Add(goingFor); ; {
		err := p.message("pool.delete.message", "delete %d", id)
		switch {
		case errors.Is(err, unix.ENODATA):
			return nil // it is gone already
		case !errors.Is(err, unix.EBUSY):
			return err
		}
		if err := p.inactive(ctx, id); err != nil {
			return err
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("a block device of another name is active on it; find it with `dmsetup table --target thin`: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// inactive waits for a block device that is just going, and otherwise says
// what keeps a thin device from being deleted.
func (p *Pool) inactive(ctx context.Context, id ThinID) error {
	for end := time.Now().Add(goingFor); ; {
		info, err := p.ctl.Stat(p.names.thin(id))
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case err != nil:
			return err
		case !info.DeferredRemove || info.Open > 0 || ctx.Err() != nil || time.Now().After(end):
			return fmt.Errorf("its block device %s is active, open %d times: deactivate it first: %w", p.Path(id), info.Open, errdefs.ErrFailedPrecondition)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
