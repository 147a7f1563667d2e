package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/failpoint"
)

// Flush implements Devices: a suspend, a resume and a commit; for a device
// that is not active the commit alone.
func (p *Pool) Flush(ctx context.Context, id ThinID) error {
	if err := id.check(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return p.run(ctx, task{
		what: "flush " + p.thin(id),
		ids:  []ThinID{id},
		do: func(ctx context.Context) error {
			active, err := p.hold(id, "pool.flush", dm.SuspendOptions{})
			if err != nil {
				return err
			}
			if active {
				if err := p.letGo(id, "pool.flush"); err != nil {
					return err
				}
			}
			if err := over(ctx); err != nil {
				return err
			}
			return p.commit()
		},
	})
}

// commit makes the pool commit: it flushes its data device and then writes its
// metadata, so what was written before is durable after. A pool does so before
// it answers with its status, unless asked not to (kernel doc
// thin-provisioning.rst, "Status").
func (p *Pool) commit() error {
	failpoint.Hit("pool.flush.commit.before")
	_, r, err := p.report(false)
	failpoint.Hit("pool.flush.commit.after")
	return errors.Join(err, p.writable(r))
}
