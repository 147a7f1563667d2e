package devmapper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// spaceBytes is what the removed snapshot held.
const spaceBytes = 32 << 20

// spaceWait is how long a pool may take to have its space back.
const spaceWait = time.Minute

// space measures how soon a committed snapshot's Remove returns, and how soon,
// from the same moment on, its space is free in the pool, with the Cleanup that
// containerd calls behind it.
func (b *bench) space(ctx context.Context, c Contender, key string) (map[string]float64, error) {
	before, err := usedBlocks(b.ctl, c.Pool)
	if err != nil {
		return nil, err
	}
	mounts, err := c.Prepare(ctx, key+"-space", base)
	if err != nil {
		return nil, fmt.Errorf("prepare on %s: %w", c.Name, err)
	}
	if err := errors.Join(fill(mounts, 1, spaceBytes), c.Commit(ctx, key+"-space-c", key+"-space")); err != nil {
		return nil, fmt.Errorf("fill and commit on %s: %w", c.Name, err)
	}
	held, err := usedBlocks(b.ctl, c.Pool)
	if err != nil {
		return nil, err
	}
	if held <= before {
		return nil, fmt.Errorf("pool %s has %d blocks in use before 32 MiB were written and %d after", c.Pool, before, held)
	}
	acknowledged, err := timed(func() error { return c.Remove(ctx, key+"-space-c") })
	if err != nil {
		return nil, fmt.Errorf("remove on %s: %w", c.Name, err)
	}
	returned, err := timed(func() error {
		return errors.Join(c.cleanup(ctx), b.back(c.Pool, before))
	})
	return map[string]float64{"remove acknowledged": acknowledged, "space returned": acknowledged + returned}, err
}

// back waits until a pool has no more blocks in use than before.
func (b *bench) back(pool string, before int) error {
	for end := time.Now().Add(spaceWait); ; time.Sleep(5 * time.Millisecond) {
		used, err := usedBlocks(b.ctl, pool)
		if err != nil || used <= before {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("pool %s has %d blocks in use after the removal, had %d before", pool, used, before)
		}
	}
}

// concurrent measures so many Prepares at once, from the first's start to the
// last's end, and so many Removes with the Cleanup behind them.
func (b *bench) concurrent(ctx context.Context, c Contender, key string) (map[string]float64, error) {
	n := b.options.scale(atOnce)
	all := func(call func(name string) error) error {
		var group errgroup.Group
		for i := range n {
			group.Go(func() error { return call(fmt.Sprintf("%s-many-%d", key, i)) })
		}
		return group.Wait()
	}
	figures := map[string]float64{}
	var err error
	figures["prepare"], err = timed(func() error {
		return all(func(name string) error { _, err := c.Prepare(ctx, name, base); return err })
	})
	if err != nil {
		return nil, fmt.Errorf("%d Prepares on %s: %w", n, c.Name, err)
	}
	figures["remove and cleanup"], err = timed(func() error {
		return errors.Join(all(func(name string) error { return c.Remove(ctx, name) }), c.cleanup(ctx))
	})
	if err != nil {
		return nil, fmt.Errorf("%d Removes on %s: %w", n, c.Name, err)
	}
	return figures, nil
}
