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

// message tells the pool something that it makes durable before it answers.
// point is the failpoint's name without its end. Two ioctls: the message, and
// a look at whether the commit behind it succeeded.
func (p *Pool) message(point, format string, args ...any) error {
	failpoint.Hit(point + ".before")
	_, err := p.ctl.Message(p.device, 0, fmt.Sprintf(format, args...))
	if err == nil {
		err = p.committed()
	}
	failpoint.Hit(point + ".after")
	return p.explain(err)
}

// committed tells whether the pool still writes. The kernel answers a message
// with success even if the commit behind it failed (pool_message in dm-thin.c
// drops that result); but then it has changed the pool's mode, which is an
// event.
func (p *Pool) committed() error {
	info, err := p.ctl.Stat(p.device)
	if err != nil {
		return err
	}
	if info.Event == p.event.Load() {
		return nil
	}
	info, r, err := p.report(true)
	if err != nil {
		return err
	}
	if err := p.writable(r); err != nil {
		return err
	}
	p.event.Store(info.Event)
	return nil
}

// report asks the pool for its status; without noFlush it commits first.
func (p *Pool) report(noFlush bool) (dm.Info, Report, error) {
	return readReport(p.ctl, p.device, noFlush)
}

func readReport(ctl *dm.Control, device string, noFlush bool) (dm.Info, Report, error) {
	info, targets, err := ctl.Status(device, dm.StatusOptions{NoFlush: noFlush})
	if err != nil {
		return info, Report{}, err
	}
	if len(targets) != 1 || targets[0].Type != targetPool {
		return info, Report{}, fmt.Errorf("device %s is no thin pool: %w", device, errdefs.ErrFailedPrecondition)
	}
	r, err := ParseReport(targets[0].Status)
	return info, r, err
}

// writable refuses a pool that cannot change, and says what mends it.
func (p *Pool) writable(r Report) error {
	return writable(r, p.where())
}

func writable(r Report, where string) error {
	switch {
	case r.Mode == ModeFail:
		return fmt.Errorf("%s has failed: its metadata can no longer be written; see the kernel's log (dmesg) for the disk, stop the daemon, then run `varve-devmapper pool check` and `varve-devmapper pool repair`: %w", where, errdefs.ErrUnavailable)
	case r.NeedsCheck:
		return fmt.Errorf("%s needs a check: the kernel met an error in its metadata and writes no more; stop the daemon, then run `varve-devmapper pool check` and `varve-devmapper pool repair`: %w", where, errdefs.ErrUnavailable)
	case r.Mode == ModeReadOnly:
		return fmt.Errorf("%s is read-only: its metadata is full, %d of %d blocks, or could not be written; run `varve-devmapper pool extend`, or stop the daemon and run `varve-devmapper pool repair`: %w", where, r.MetadataUsed, r.MetadataTotal, errdefs.ErrUnavailable)
	}
	return nil
}

// explain adds to a kernel's error what it means for a pool.
func (p *Pool) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s is not active any more: %w; restart the daemon, which activates it: %w", p.where(), err, errdefs.ErrUnavailable)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("the metadata of %s is full; run `varve-devmapper pool extend`: %w", p.where(), err)
	case errors.Is(err, unix.EOPNOTSUPP):
		if _, r, statusErr := p.report(true); statusErr == nil {
			if mode := p.writable(r); mode != nil {
				return fmt.Errorf("%w (%w)", mode, err)
			}
		}
	}
	return err
}

// over tells whether the context ended between two kernel calls.
func over(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("given up between two steps: %w", err)
	}
	return nil
}
