package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/failpoint"
)

// Deactivate implements Devices: one ioctl.
func (p *Pool) Deactivate(ctx context.Context, id ThinID, lazily bool) error {
	if err := id.check(); err != nil {
		return fmt.Errorf("deactivate: %w", err)
	}
	return p.run(ctx, task{
		what: "deactivate " + p.thin(id),
		ids:  []ThinID{id},
		do: func(ctx context.Context) error {
			failpoint.Hit("pool.deactivate.remove.before")
			err := p.remove(ctx, p.names.thin(id), lazily)
			failpoint.Hit("pool.deactivate.remove.after")
			return err
		},
	})
}

// remove removes a block device, if it exists. One that is busy is tried
// again for a moment: a program that probes new devices has it open as long.
func (p *Pool) remove(ctx context.Context, name string, lazily bool) error {
	if lazily {
		return ifPresent(p.ctl.RemoveDeferred(name))
	}
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err := ifPresent(p.ctl.Remove(name))
		if !errors.Is(err, unix.EBUSY) || wait > 40*time.Millisecond {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func ifPresent(err error) error {
	if errors.Is(err, unix.ENXIO) {
		return nil
	}
	return err
}

// Active implements Devices: one ioctl.
func (p *Pool) Active(ctx context.Context, id ThinID) (active bool, open int, bytes uint64, err error) {
	if err := id.check(); err != nil {
		return false, 0, 0, err
	}
	type answer struct {
		info    dm.Info
		targets []dm.TargetStatus
	}
	a, err := look(ctx, p, "look at "+p.thin(id), func() (answer, error) {
		info, targets, err := p.ctl.Status(p.names.thin(id), dm.StatusOptions{NoFlush: true})
		return answer{info, targets}, err
	})
	if errdefs.IsNotFound(err) {
		return false, 0, 0, nil
	}
	if err != nil || !a.info.Live {
		return false, 0, 0, err
	}
	for _, t := range a.targets {
		bytes += t.Length * sector
	}
	return true, a.info.Open, bytes, nil
}

// look runs a call that changes nothing, whose caller leaves when ctx ends.
func look[T any](ctx context.Context, p *Pool, what string, ask func() (T, error)) (T, error) {
	var zero T
	type answer struct {
		value T
		err   error
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return zero, fmt.Errorf("%s: %d other calls are waiting for the kernel: %w", what, cap(p.slots), ctx.Err())
	}
	if !p.begin() {
		<-p.slots
		return zero, fmt.Errorf("%s: %w", what, errClosed)
	}
	done := make(chan answer, 1)
	go func() {
		defer p.end()
		defer func() { <-p.slots }()
		v, err := ask()
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return zero, fmt.Errorf("%s: %w", what, a.err)
		}
		return a.value, nil
	case <-ctx.Done():
		return zero, fmt.Errorf("%s: the kernel has not answered: %w", what, ctx.Err())
	}
}
