package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool/guard"
	"github.com/varve-project/varve/internal/failpoint"
)

// Watch starts the pool's guardian: from now on Admit asks it, the pool is
// extended while its volume group has room, and its out-of-space behaviour is
// kept as configured. The caller closes the guardian before the pool. A pool
// without LVM is watched, but only a person can extend it.
func (p *Pool) Watch(ctx context.Context) (*guard.Guard, error) {
	o := guard.Options{Limits: p.config.Limits(), Pool: watched{p}, Log: p.log}
	if p.volumes.Kind.LVM() {
		o.Store = &groupStore{p: p}
	}
	g, err := guard.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	p.SetAdmission(g.Admit)
	return g, nil
}

// Limits are the configuration as the guardian knows it.
func (c Config) Limits() guard.Limits {
	l := guard.Limits{
		MinFreeData: c.MinFreeData, MinFreeMetadata: c.MinFreeMetadata, ExtendAt: c.ExtendAt, ExtendBy: c.ExtendBy,
		Queue: c.OutOfSpace == outOfSpaceQueue, QueueFor: time.Duration(c.QueueFor),
	}
	if v, err := Describe(c); err == nil {
		l.Pool, l.Group, l.Files = v.Where(), v.Group, v.Kind == KindLoop
	}
	return l
}

// watched is the pool as its guardian sees it.
type watched struct{ p *Pool }

func (w watched) Status(ctx context.Context) (guard.Status, error) {
	return look(ctx, w.p, "status of "+w.p.where(), func() (guard.Status, error) {
		info, r, err := w.p.report(true)
		if err != nil {
			return guard.Status{}, w.p.explain(err)
		}
		block := w.p.blockBytes
		return guard.Status{
			Data:     guard.Space{Used: r.DataUsed * block, Total: r.DataTotal * block},
			Metadata: guard.Space{Used: r.MetadataUsed * MetadataBlock, Total: r.MetadataTotal * MetadataBlock},
			Mode:     guard.Mode(r.Mode), NeedsCheck: r.NeedsCheck, ErrorIfFull: r.ErrorIfFull, Event: info.Event,
		}, nil
	})
}

func (w watched) Wait(ctx context.Context, event uint32) (uint32, error) {
	info, err := w.p.ctl.Wait(ctx, w.p.device, event)
	return info.Event, err
}

// SetErrorIfFull gives the pool a new table, or lets LVM do so where the table
// is LVM's. Suspending a full pool ends because nothing is flushed.
func (w watched) SetErrorIfFull(ctx context.Context, fail bool) error {
	p := w.p
	what := "set the out-of-space behaviour of " + p.where()
	if p.volumes.Kind.LVM() {
		answer := map[bool]string{true: "y", false: "n"}[fail]
		failpoint.Hit("pool.guard.whenfull.before")
		_, err := runLVM(ctx, "lvchange", "--yes", "--errorwhenfull", answer, p.volumes.Group+"/"+p.volumes.Pool)
		failpoint.Hit("pool.guard.whenfull.after")
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	_, err := look(ctx, p, what, func() (struct{}, error) { return struct{}{}, p.retable(p.device, fail) })
	return err
}

// retable gives a pool whose table is ours its behaviour when it is full, if it
// has the other one. A table of LVM's is LVM's to change.
func (p *Pool) retable(device string, errorIfFull bool) error {
	targets, err := p.ctl.Table(device)
	if err != nil {
		return err
	}
	t, err := parsePoolTable(targets)
	if err != nil || t.errorIfFull == errorIfFull {
		return err
	}
	t.errorIfFull = errorIfFull
	failpoint.Hit("pool.guard.table.before")
	defer failpoint.Hit("pool.guard.table.after")
	if err := p.ctl.Load(device, false, t.target()); err != nil {
		return err
	}
	if err := p.ctl.Suspend(device, dm.SuspendOptions{NoFlush: true, SkipLockFS: true}); err != nil {
		return errors.Join(err, p.ctl.Clear(device))
	}
	return p.ctl.Resume(device)
}

// groupStore is the volume group as what the pool can grow in.
type groupStore struct{ p *Pool }

func (s *groupStore) Room(ctx context.Context) (uint64, error) {
	list, err := logicalVolumes(ctx, s.p.volumes.Group)
	if err != nil {
		return 0, err
	}
	for _, lv := range list {
		if lv.name == s.p.volumes.Pool {
			s.p.SetRoom(lv.free)
			return lv.free, nil
		}
	}
	return 0, fmt.Errorf("the volume group %s has no volume %s any more", s.p.volumes.Group, s.p.volumes.Pool)
}

// Extend lets LVM extend the pool, which reloads its table: a pool that was
// full goes on. LVM rounds up to extents.
func (s *groupStore) Extend(ctx context.Context, by guard.Extension) error {
	for _, e := range []struct {
		point, option string
		bytes         uint64
	}{
		{"pool.guard.metadata", "--poolmetadatasize", by.Metadata},
		{"pool.guard.data", "--size", by.Data},
	} {
		if e.bytes == 0 {
			continue
		}
		failpoint.Hit(e.point + ".before")
		_, err := runLVM(ctx, "lvextend", "--yes", e.option, fmt.Sprintf("+%db", e.bytes), s.p.volumes.Group+"/"+s.p.volumes.Pool)
		failpoint.Hit(e.point + ".after")
		if err != nil {
			return err
		}
	}
	return nil
}
