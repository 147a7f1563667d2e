package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
	"github.com/varve-project/varve/internal/failpoint"
)

// Thins implements Devices.
func (p *Pool) Thins(ctx context.Context) ([]Thin, error) {
	list, err := look(ctx, p, "list the thin devices of "+p.where(), func() ([]Thin, error) {
		return p.thins(ctx, "pool.thins")
	})
	return slices.DeleteFunc(list, func(t Thin) bool { return t.ID == 0 }), err
}

// thins reads the pool's B-tree of devices from a metadata snapshot, of which
// a pool has one at a time.
func (p *Pool) thins(ctx context.Context, point string) (list []Thin, err error) {
	err = p.withMetadata(ctx, point, func(m *thinmeta.Metadata) error {
		devices, err := m.Devices(ctx)
		for _, d := range devices {
			list = append(list, Thin{ID: ThinID(d.ID), MappedBytes: d.MappedBlocks * p.blockBytes, TransactionID: d.TransactionID})
		}
		return err
	})
	return list, err
}

// Metadata lets read see the pool's metadata as they are at one moment. A pool
// can hold one such view at a time, so callers take turns, and read shall end
// with its context; the view is given up whatever happens.
func (p *Pool) Metadata(ctx context.Context, read func(context.Context, *thinmeta.Metadata) error) error {
	_, err := look(ctx, p, "read the metadata of "+p.where(), func() (struct{}, error) {
		return struct{}{}, p.withMetadata(ctx, "pool.metadata", func(m *thinmeta.Metadata) error { return read(ctx, m) })
	})
	return err
}

// withMetadata holds a metadata snapshot for as long as read runs. point is
// the failpoint's name without its end.
func (p *Pool) withMetadata(ctx context.Context, point string, read func(*thinmeta.Metadata) error) (err error) {
	select {
	case p.snapshot <- struct{}{}:
		defer func() { <-p.snapshot }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the metadata snapshot of %s: %w", p.where(), ctx.Err())
	}
	failpoint.Hit(point + ".reserve.before")
	_, err = p.ctl.Message(p.device, 0, "reserve_metadata_snap")
	failpoint.Hit(point + ".reserve.after")
	if err != nil {
		return fmt.Errorf("reserve a metadata snapshot of %s (a pool has one only; another program may hold it): %w", p.where(), p.explain(err))
	}
	defer func() { err = errors.Join(err, p.releaseSnapshot(point)) }()
	r, err := thinmeta.OpenDevice(p.metadata)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	m, err := thinmeta.Open(r)
	if err != nil {
		return err
	}
	if m, err = m.Held(); err != nil {
		return err
	}
	return read(m)
}

func (p *Pool) releaseSnapshot(point string) error {
	failpoint.Hit(point + ".release.before")
	_, err := p.ctl.Message(p.device, 0, "release_metadata_snap")
	failpoint.Hit(point + ".release.after")
	return p.explain(err)
}

// isDiscard tells a device through which a thin device was being discarded.
func isDiscard(tail string) bool { return strings.HasSuffix(tail, discardTail) }

// Reclaim implements Devices. One id that cannot be deleted does not keep the
// others from being; the errors come together.
func (p *Pool) Reclaim(ctx context.Context, owned func(ThinID) bool) ([]ThinID, error) {
	list, err := p.Thins(ctx)
	if err != nil {
		return nil, fmt.Errorf("reclaim: %w", err)
	}
	given := p.ids.given()
	foreign := p.ledger.get().Foreign
	var gone []ThinID
	var errs []error
	for _, t := range list {
		if t.ID >= given || slices.Contains(foreign, t.ID) || owned(t.ID) {
			continue
		}
		if err := p.reclaim(ctx, t.ID); err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		gone = append(gone, t.ID)
	}
	return gone, errors.Join(errs...)
}

func (p *Pool) reclaim(ctx context.Context, id ThinID) error {
	if err := p.Deactivate(ctx, id, false); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	if err := p.Delete(ctx, id); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	return nil
}
