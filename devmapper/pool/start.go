package pool

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/failpoint"
)

// resumeOurs resumes every device of this pool that a crash left suspended:
// whoever opens such a device, LVM and udev included, hangs. What lies below
// comes first.
func (p *Pool) resumeOurs() error {
	all, err := p.ctl.List()
	if err != nil {
		return err
	}
	var below, thins []string
	for _, e := range all {
		switch _, id, ours := p.names.parse(e.UUID); {
		case !ours:
		case id == 0:
			below = append(below, e.Name)
		default:
			thins = append(thins, e.Name)
		}
	}
	slices.SortFunc(below, func(a, b string) int { return rank(a, p.names) - rank(b, p.names) })
	for _, name := range append(below, thins...) {
		if err := p.resumeLeft(name); err != nil {
			return err
		}
	}
	return nil
}

// rank orders a bare pool's own devices: a device comes behind what it lies on.
func rank(name string, n names) int {
	return slices.Index([]string{n.name(tailCatalog), n.name(tailData), n.name(tailPool)}, name)
}

// resumeLeft resumes one device that is suspended, and removes one that was
// never finished: it has no live table, so nobody can have been told of it.
func (p *Pool) resumeLeft(name string) error {
	info, err := p.ctl.Stat(name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Live {
		failpoint.Hit("pool.open.remove.before")
		err := ifPresent(p.ctl.Remove(name))
		failpoint.Hit("pool.open.remove.after")
		return err
	}
	if info.Suspended {
		failpoint.Hit("pool.open.resume.before")
		err := ifPresent(p.ctl.Resume(name))
		failpoint.Hit("pool.open.resume.after")
		if err != nil {
			return fmt.Errorf("%s was left suspended, and cannot be resumed: %w", name, err)
		}
		p.log.Warnf("device %s was left suspended by a crash; it is resumed", name)
	}
	if info.Inactive && !info.Suspended {
		failpoint.Hit("pool.open.clear.before")
		err := ifPresent(p.ctl.Clear(name))
		failpoint.Hit("pool.open.clear.after")
		return err
	}
	return nil
}

// start looks at the pool that is active now and makes it ours to write.
func (p *Pool) start(ctx context.Context, o Options) error {
	// The pool itself, where it is LVM's, may have been left suspended too.
	if err := p.resumeLeft(p.device); err != nil {
		return err
	}
	info, report, err := p.report(true)
	if err != nil {
		return err
	}
	if err := p.writable(report); err != nil {
		return err
	}
	p.number = devNumber(info.Major, info.Minor)
	p.event.Store(info.Event)
	if err := p.readTable(); err != nil {
		return err
	}
	p.passdown = report.Passdown
	err = p.ledger.get().compare(moment{report.TransactionID, p.blockBytes, report.DataTotal * p.blockBytes})
	if err != nil {
		return err
	}
	if report.HeldRoot != 0 {
		if err := p.releaseSnapshot("pool.open"); err != nil {
			return fmt.Errorf("release the metadata snapshot that a crash left: %w", err)
		}
	}
	if err := p.removeDiscards(ctx); err != nil {
		return err
	}
	if err := p.checkForeign(ctx, o.Adopt); err != nil {
		return err
	}
	return p.moveTransaction(report)
}

// moveTransaction moves the pool's transaction id by one, so that a copy of
// its metadata from before this start can be told from what is written now.
func (p *Pool) moveTransaction(report Report) error {
	from := report.TransactionID
	failpoint.Hit("pool.open.intent.before")
	err := p.ledger.update(func(r *record) {
		r.TransactionID, r.Moving = from, from+1
		r.DataBytes = report.DataTotal * p.blockBytes
	})
	failpoint.Hit("pool.open.intent.after")
	if err != nil {
		return err
	}
	if err := p.message("pool.open.transaction", "set_transaction_id %d %d", from, from+1); err != nil {
		return err
	}
	failpoint.Hit("pool.open.done.before")
	err = p.ledger.update(func(r *record) { r.TransactionID, r.Moving = from+1, 0 })
	failpoint.Hit("pool.open.done.after")
	return err
}

// removeDiscards removes the devices of discards that were cut off.
func (p *Pool) removeDiscards(ctx context.Context) error {
	all, err := p.ctl.List()
	if err != nil {
		return err
	}
	for _, e := range all {
		if tail, _, ours := p.names.parse(e.UUID); ours && isDiscard(tail) {
			failpoint.Hit("pool.open.discard.before")
			err := p.remove(ctx, e.Name, false)
			failpoint.Hit("pool.open.discard.after")
			if err != nil {
				return fmt.Errorf("remove %s, left by a deletion that was cut off: %w", e.Name, err)
			}
		}
	}
	return nil
}

// checkForeign refuses thin devices that no window of ours has given out,
// unless they have been adopted.
func (p *Pool) checkForeign(ctx context.Context, adopt []ThinID) error {
	thins, err := p.thins(ctx, "pool.open")
	if err != nil {
		return err
	}
	r := p.ledger.get()
	var fresh, foreign []ThinID
	for _, t := range thins {
		switch {
		case t.ID != 0 && t.ID < r.NextID, slices.Contains(r.Foreign, t.ID):
		case slices.Contains(adopt, t.ID):
			fresh = append(fresh, t.ID)
		default:
			foreign = append(foreign, t.ID)
		}
	}
	if len(foreign) > 0 {
		return fmt.Errorf("the pool holds %d thin devices that it never gave out (%v): another program uses it too, or did; end that program, and delete each that nobody needs by `dmsetup message %s 0 \"delete ID\"`: %w", len(foreign), some(foreign), p.device, errdefs.ErrFailedPrecondition)
	}
	if len(fresh) == 0 {
		return nil
	}
	return p.ledger.update(func(r *record) { r.Foreign = append(r.Foreign, fresh...) })
}

// some shortens a list for people.
func some(list []ThinID) string {
	if len(list) > 10 {
		return fmt.Sprintf("%v and %d more", list[:10], len(list)-10)
	}
	return fmt.Sprint(list)
}

// readTable learns the pool's metadata device and block size from its table.
func (p *Pool) readTable() error {
	targets, err := p.ctl.Table(p.device)
	if err != nil {
		return err
	}
	t, err := parsePoolTable(targets)
	if err != nil {
		return fmt.Errorf("device %s: %w", p.device, err)
	}
	p.blockBytes = t.blockBytes
	p.metadata, err = nodeOf(t.metadata)
	return err
}
