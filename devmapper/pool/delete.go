package pool

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/containerd/errdefs"
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
		slow: p.config.DiscardOnDelete,
		do: func(ctx context.Context) error {
			if p.config.DiscardOnDelete {
				if err := p.discard(ctx, id); err != nil {
					return err
				}
			}
			return p.delete(id)
		},
	})
}

func (p *Pool) delete(id ThinID) error {
	err := p.message("pool.delete.message", "delete %d", id)
	switch {
	case errors.Is(err, unix.ENODATA):
		return nil // it is gone already
	case errors.Is(err, unix.EBUSY):
		return p.stillActive(id, err)
	}
	return err
}

// stillActive says what keeps a thin device from being deleted.
func (p *Pool) stillActive(id ThinID, cause error) error {
	info, err := p.ctl.Stat(p.names.thin(id))
	if err != nil {
		return fmt.Errorf("a block device of another name is active on it; find it with `dmsetup table --target thin`: %w (%w)", errdefs.ErrFailedPrecondition, cause)
	}
	return fmt.Errorf("its block device %s is active, open %d times: deactivate it first: %w (%w)", p.Path(id), info.Open, errdefs.ErrFailedPrecondition, cause)
}
