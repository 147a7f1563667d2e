package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/varve-project/varve/internal/failpoint"
)

// maxBatch bounds how many writes share one commit.
const maxBatch = 128

// errClosed answers writes that come after Close.
var errClosed = fmt.Errorf("metadata store is closed: %w", errdefs.ErrUnavailable)

// Write is one change of the records, together with the effects on disk that
// must stand or fall with it.
type Write struct {
	// Check refuses the change. It reads only, may run more than once, and
	// must not block: it runs first in a read transaction, where a refusal
	// waits for nobody, and again in the one that makes the change. May be nil.
	Check func(ctx context.Context) error
	// Apply makes the change through the storage package and may do small
	// effects that must be in place when the commit is (mkdir, never a
	// walk). It runs again, after Undo, when another write of the batch
	// fails. Nil changes nothing.
	Apply func(ctx context.Context) error
	// Undo takes back Apply's effects on disk after the transaction was
	// rolled back. It also runs when Apply itself failed. May be nil.
	Undo func()
	// Done runs after the commit, before Do returns, and whether or not
	// anybody still waits for the answer. May be nil.
	Done func()
}

type call struct {
	ctx    context.Context
	write  Write
	answer chan error // buffered: the leader never waits for a caller
}

// errLead is the answer that makes a waiting caller commit the next batch.
var errLead = errors.New("lead the next batch")

// Do makes one change durable; it returns once the change is on disk. When
// ctx ends before the change has begun it does not happen. When ctx ends
// later Do may return with an error that wraps ctx's, and the change still
// happens or fails as a whole; a caller who commits the batch himself cannot
// leave before the disk has answered.
func (s *Store) Do(ctx context.Context, w Write) error {
	if err := s.refuse(ctx, w); err != nil {
		return err
	}
	c := &call{ctx: ctx, write: w, answer: make(chan error, 1)}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return errClosed
	case s.leading:
		s.waiting = append(s.waiting, c)
		s.mu.Unlock()
		return s.follow(c)
	}
	s.leading = true
	s.mu.Unlock()
	return s.lead(c, []*call{c})
}

// refuse runs Check ahead of the batch, so that a refusal neither waits for
// the commit under way nor takes the lead to write nothing.
func (s *Store) refuse(ctx context.Context, w Write) error {
	if w.Check == nil {
		return nil
	}
	err := s.Read(ctx, w.Check)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return errClosed
	}
	return err
}

// follow waits until somebody has committed c, or nobody else is left to.
func (s *Store) follow(c *call) error {
	var err error
	select {
	case err = <-c.answer:
	case <-c.ctx.Done():
		s.mu.Lock()
		if i := slices.Index(s.waiting, c); i >= 0 {
			s.waiting = slices.Delete(s.waiting, i, i+1)
			s.mu.Unlock()
			return c.ctx.Err()
		}
		s.mu.Unlock()
		select {
		case err = <-c.answer: // it may be the lead, which must not be lost
		default:
			return fmt.Errorf("gave up waiting for the metadata commit: %w", c.ctx.Err())
		}
	}
	if !errors.Is(err, errLead) {
		return err
	}
	return s.lead(c, s.gather(c))
}

// gather makes the next batch: c and those that wait behind it.
func (s *Store) gather(c *call) []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.waiting), maxBatch-1)
	batch := append([]*call{c}, s.waiting[:n]...)
	s.waiting = slices.Delete(s.waiting, 0, n)
	return batch
}

// lead commits the batch, c among it, and passes the lead on to the first of
// those that came meanwhile.
func (s *Store) lead(c *call, batch []*call) error {
	s.commit(batch)
	s.mu.Lock()
	if len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		next.answer <- errLead
	} else {
		s.leading = false
		s.idle.Broadcast()
	}
	s.mu.Unlock()
	return <-c.answer
}

// Waiting tells how many changes wait for the commit under way to end.
func (s *Store) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// commit runs the batch in one transaction. A write that fails in Apply may
// have left half a change in the transaction: it is answered, taken out, and
// the others start again on a fresh one.
func (s *Store) commit(batch []*call) {
	for len(batch) > 0 {
		var refused []*call
		applied, changed := 0, false
		err := s.transact(func(tx context.Context) error {
			for i, c := range batch {
				refuse, err := run(tx, c)
				if err != nil {
					applied = i
					return &failed{c, err}
				}
				if refuse != nil {
					c.answer <- refuse
					refused = append(refused, c)
					continue
				}
				changed = changed || c.write.Apply != nil
			}
			applied = len(batch)
			if !changed {
				return errNothing
			}
			return nil
		})
		var f *failed
		switch {
		case err == nil, errors.Is(err, errNothing):
			finish(without(batch, refused), nil)
			return
		case errors.As(err, &f):
			undo(without(batch[:applied+1], refused))
			f.call.answer <- f.err
			batch = without(batch, append(refused, f.call))
		default:
			undo(without(batch, refused))
			finish(without(batch, refused), fmt.Errorf("metadata commit: %w", err))
			return
		}
	}
}

// transact runs fn in a write transaction, which is rolled back when fn
// fails.
func (s *Store) transact(fn func(tx context.Context) error) error {
	tx, t, err := s.ms.TransactionContext(context.Background(), true)
	if err != nil {
		return err
	}
	if err := fn(carry(tx, t)); err != nil {
		return errors.Join(err, t.Rollback())
	}
	failpoint.Hit("snapshotter.metadata.commit.before")
	if err := t.Commit(); err != nil {
		return err
	}
	failpoint.Hit("snapshotter.metadata.commit.after")
	return nil
}

// errNothing rolls back a transaction in which nothing was changed, so that
// a refusal costs no sync.
var errNothing = errors.New("nothing to commit")

// failed carries the write whose Apply failed out of the transaction.
type failed struct {
	call *call
	err  error
}

func (f *failed) Error() string { return f.err.Error() }

// run checks and applies one write within tx. The transaction travels in the
// context, so the caller's own context is asked for its end only.
func run(tx context.Context, c *call) (refusal, err error) {
	if err := c.ctx.Err(); err != nil {
		return err, nil
	}
	if c.write.Check != nil {
		if err := c.write.Check(tx); err != nil {
			return err, nil
		}
	}
	if c.write.Apply == nil {
		return nil, nil
	}
	return nil, c.write.Apply(tx)
}

func undo(batch []*call) {
	for i := len(batch) - 1; i >= 0; i-- {
		if batch[i].write.Undo != nil {
			batch[i].write.Undo()
		}
	}
}

func finish(batch []*call, err error) {
	for _, c := range batch {
		if err == nil && c.write.Done != nil {
			c.write.Done()
		}
		c.answer <- err
	}
}

// without returns batch less the calls in gone, in order.
func without(batch, gone []*call) []*call {
	if len(gone) == 0 {
		return batch
	}
	skip := make(map[*call]bool, len(gone))
	for _, c := range gone {
		skip[c] = true
	}
	left := make([]*call, 0, len(batch))
	for _, c := range batch {
		if !skip[c] {
			left = append(left, c)
		}
	}
	return left
}

// Settle returns once every change that had been handed to Do before the
// call is on disk or has failed.
func (s *Store) Settle(ctx context.Context) error {
	return s.Do(ctx, Write{})
}
