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

// Target types.
const (
	targetPool   = "thin-pool"
	targetThin   = "thin"
	targetLinear = "linear"
)

const sector = 512

// Activate implements Devices: three ioctls where the device is not active.
func (p *Pool) Activate(ctx context.Context, id ThinID, a Activation) (string, error) {
	if err := id.check(); err != nil {
		return "", fmt.Errorf("activate: %w", err)
	}
	if a.Bytes == 0 || a.Bytes%sector != 0 {
		return "", fmt.Errorf("activate %s: a size of %d bytes is not a positive multiple of %d: %w", p.thin(id), a.Bytes, sector, errdefs.ErrInvalidArgument)
	}
	err := p.run(ctx, task{
		what: "activate " + p.thin(id),
		ids:  []ThinID{id},
		do:   func(ctx context.Context) error { return p.activate(ctx, id, a) },
	})
	if err != nil {
		return "", err
	}
	return p.Path(id), nil
}

// attempts bounds how often a device is looked at anew that vanishes, or
// appears, between two looks: a deferred removal ends when it likes.
const attempts = 5

func (p *Pool) activate(ctx context.Context, id ThinID, a Activation) error {
	var err error
	for range attempts {
		if err = over(ctx); err != nil {
			return err
		}
		failpoint.Hit("pool.activate.device.before")
		_, err = p.ctl.Activate(p.names.thin(id), p.names.thinUUID(id), a.ReadOnly, p.table(id, a.Bytes))
		failpoint.Hit("pool.activate.device.after")
		if !errdefs.IsAlreadyExists(err) {
			return p.explainThin(id, err)
		}
		err = p.adapt(ctx, id, a)
		if !errors.Is(err, unix.ENXIO) {
			return p.explainThin(id, err)
		}
	}
	return fmt.Errorf("its block device comes and goes: %w", err)
}

// table is the table of a thin device.
func (p *Pool) table(id ThinID, bytes uint64) dm.Target {
	return dm.Target{Length: bytes / sector, Type: targetThin, Params: fmt.Sprintf("%s %d", p.number, id)}
}

// adapt brings a block device that exists to what a asks.
func (p *Pool) adapt(ctx context.Context, id ThinID, a Activation) error {
	name := p.names.thin(id)
	info, targets, err := p.ctl.Status(name, dm.StatusOptions{NoFlush: true})
	if err != nil {
		return err
	}
	if info.UUID != p.names.thinUUID(id) {
		return fmt.Errorf("a device %s exists that is not ours (its uuid is %q); rename or remove it: %w", name, info.UUID, errdefs.ErrFailedPrecondition)
	}
	if info.DeferredRemove {
		failpoint.Hit("pool.activate.cancel.before")
		err := p.ctl.CancelDeferred(name)
		failpoint.Hit("pool.activate.cancel.after")
		if errdefs.IsNotFound(err) {
			return unix.ENXIO
		}
		if err != nil {
			return err
		}
	}
	bytes := a.Bytes
	if len(targets) == 1 {
		bytes = max(bytes, targets[0].Length*sector)
		if bytes == targets[0].Length*sector && info.ReadOnly == a.ReadOnly && !info.Suspended {
			return nil
		}
	}
	if info.Live && info.ReadOnly != a.ReadOnly && info.Open > 0 {
		return fmt.Errorf("its block device is open %d times and %s: close it first: %w", info.Open, access(info.ReadOnly), errdefs.ErrFailedPrecondition)
	}
	if err := over(ctx); err != nil {
		return err
	}
	return p.reload(id, bytes, a.ReadOnly)
}

// reload gives an existing block device a new table. Its data does not move,
// so nothing need be frozen; and NoFlush, because a pool that is full would
// never let a flush end.
func (p *Pool) reload(id ThinID, bytes uint64, readOnly bool) error {
	name := p.names.thin(id)
	failpoint.Hit("pool.activate.load.before")
	err := p.ctl.Load(name, readOnly, p.table(id, bytes))
	failpoint.Hit("pool.activate.load.after")
	if err != nil {
		return err
	}
	if _, err := p.hold(id, "pool.activate", dm.SuspendOptions{NoFlush: true, SkipLockFS: true}); err != nil {
		return errors.Join(err, p.ctl.Clear(name))
	}
	return p.letGo(id, "pool.activate")
}

func access(readOnly bool) string {
	if readOnly {
		return "read-only"
	}
	return "writable"
}

// explainThin is explain for what is asked of one thin device.
func (p *Pool) explainThin(id ThinID, err error) error {
	if errors.Is(err, unix.ENODATA) {
		return fmt.Errorf("the pool has no thin device %d: %w (%w)", id, errdefs.ErrNotFound, err)
	}
	return p.explain(err)
}
