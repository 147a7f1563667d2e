package devmapper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// trash deletes thin devices behind the caller's back. What a record's removal
// puts here is journalled in the same transaction (trashBucket), so that it
// goes on after a crash; what a failed call leaves is not, for no record ever
// named it and the next start finds it by that.
type trash struct {
	d *Driver

	mu      sync.Mutex
	changed *sync.Cond
	jobs    map[pool.ThinID]*job
	waiting int // callers of wait
	gone    int // jobs that are done and still in the journal
	deleted uint64
	closed  bool

	ctx  context.Context
	stop context.CancelFunc
	kick chan struct{}
	done sync.WaitGroup
}

// job is one device to delete.
type job struct {
	id        pool.ThinID
	refuse    refuse
	journal   bool // it is in trashBucket
	running   bool
	gone      bool // deleted, and still in the journal
	tries     int
	last      error
	notBefore time.Time
}

// A device that cannot be deleted is tried again after a second, and then
// less and less often; one that only waits for its user, every few seconds.
const (
	firstPause = time.Second
	lastPause  = time.Minute
	lentPause  = 5 * time.Second
	workers    = 2
	// mostGone bounds how many deletions share one note in the journal.
	mostGone = 64
)

func newTrash(d *Driver) *trash {
	t := &trash{d: d, jobs: map[pool.ThinID]*job{}, kick: make(chan struct{}, workers)}
	t.changed = sync.NewCond(&t.mu)
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t
}

// start begins to delete.
func (t *trash) start() {
	for range workers {
		t.done.Add(1)
		go t.work()
	}
}

// close stops where it is; the rest waits for the next Open.
func (t *trash) close() {
	t.stop()
	t.done.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.changed.Broadcast()
}

// add takes over a device. The caller has journalled it, or says that nobody
// has.
func (t *trash) add(id pool.ThinID, r refuse, journalled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.jobs[id] = &job{id: id, refuse: r, journal: journalled}
	t.wake()
}

func (t *trash) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// discard gives up a device that a call made and could not record.
func (d *Driver) discard(id pool.ThinID, of string) {
	d.trash.add(id, refuse{Of: of}, false)
}

// backlog tells how many devices wait for deletion, and how many of these
// could not be deleted so far.
func (t *trash) backlog() (waiting, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range t.jobs {
		waiting++
		if j.last != nil && !j.lent() {
			failed++
		}
	}
	return waiting, failed
}

// lent tells that it waits for nothing but its user.
func (j *job) lent() bool { return j.refuse.Lent && errdefs.IsFailedPrecondition(j.last) }

// next takes the oldest device that is due; with none, it says when one is.
func (t *trash) next() (due *job, pause time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	pause = lastPause
	for _, j := range t.jobs {
		switch wait := j.notBefore.Sub(now); {
		case j.running || j.gone:
		case wait > 0:
			pause = min(pause, wait)
		case due == nil || j.id < due.id:
			due = j
		}
	}
	if due != nil {
		due.running = true
	}
	return due, pause
}

func (t *trash) work() {
	defer t.done.Done()
	for t.ctx.Err() == nil {
		j, pause := t.next()
		if j == nil {
			t.settle()
			timer := time.NewTimer(pause)
			select {
			case <-t.kick:
			case <-timer.C:
			case <-t.ctx.Done():
			}
			timer.Stop()
			continue
		}
		t.wake() // another one may be due for the other worker
		if t.ended(j, t.delete(j)) >= mostGone {
			t.settle()
		}
		t.pace()
	}
}

func (t *trash) delete(j *job) error {
	failpoint.Hit("devmapper.trash.deactivate.before")
	if err := t.d.pool.Deactivate(t.ctx, j.id, false); err != nil {
		return err
	}
	failpoint.Hit("devmapper.trash.deactivate.after")
	failpoint.Hit("devmapper.trash.delete.before")
	if err := t.d.pool.Delete(t.ctx, j.id); err != nil {
		return err
	}
	failpoint.Hit("devmapper.trash.delete.after")
	return nil
}

// ended takes note of how a deletion went, and tells how many are still in
// the journal although they are done.
func (t *trash) ended(j *job, err error) (gone int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.changed.Broadcast()
	j.running, j.last = false, err
	j.tries++
	if err != nil {
		longest := lastPause
		if j.lent() {
			longest = lentPause
		}
		j.notBefore = time.Now().Add(min(firstPause<<min(j.tries-1, 6), longest))
		if j.tries == 1 && !j.lent() && t.ctx.Err() == nil {
			t.d.log.WithError(err).WithField("snapshot", j.refuse.Of).WithField("thin", j.id).
				Warn("cannot delete a removed snapshot's device; it is tried again")
		}
		return t.gone
	}
	t.deleted++
	if j.journal {
		j.gone = true
		t.gone++
		return t.gone
	}
	t.d.flying.land(j.id)
	delete(t.jobs, j.id)
	return t.gone
}

// settle takes what is deleted out of the journal: one transaction for all
// that there is. Until then a crash means deleting again what is not there,
// which is no error.
func (t *trash) settle() {
	t.mu.Lock()
	var gone []pool.ThinID
	for id, j := range t.jobs {
		if j.gone {
			gone = append(gone, id)
		}
	}
	t.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	failpoint.Hit("devmapper.trash.metadata.before")
	err := t.d.store.Do(context.WithoutCancel(t.ctx), metadata.Write{Apply: func(ctx context.Context) error {
		for _, id := range gone {
			if err := drop(ctx, trashBucket, thinKey(id)); err != nil {
				return err
			}
		}
		return nil
	}})
	failpoint.Hit("devmapper.trash.metadata.after")
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.changed.Broadcast()
	if err != nil {
		t.d.log.WithError(err).Warn("cannot note what was deleted; it is tried again")
		return
	}
	for _, id := range gone {
		if _, ok := t.jobs[id]; ok { // not the other worker's already
			delete(t.jobs, id)
			t.gone--
		}
	}
}

// pace keeps to the rate, unless somebody waits for the space.
func (t *trash) pace() {
	rate := t.d.config.TrashRate
	t.mu.Lock()
	hurry := t.waiting > 0
	t.mu.Unlock()
	if rate == 0 || hurry || t.d.pool.Admit() != nil {
		return
	}
	select {
	case <-time.After(workers * time.Second / time.Duration(rate)):
	case <-t.ctx.Done():
	}
}

// wait blocks until everything that was added before the call is deleted, or
// has been tried and failed: then the error names it. What a Commit left to
// somebody who still has it mounted does not count.
func (t *trash) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.changed.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting++
	defer func() { t.waiting-- }()
	mine := map[*job]int{} // to how often it had been tried
	for _, j := range t.jobs {
		mine[j] = j.tries
		j.notBefore = time.Time{}
	}
	for range workers {
		t.wake()
	}
	for {
		left := 0
		var failed error
		for j, tries := range mine {
			switch {
			case t.jobs[j.id] != j: // gone
			case j.tries == tries || j.gone || j.running:
				left++
			case !j.lent():
				failed = errors.Join(failed, fmt.Errorf("device %d of snapshot %q: %w", j.id, j.refuse.Of, j.last))
			}
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%d devices are still to be deleted: %w", left, ctx.Err())
		case left == 0:
			return failed
		case t.closed:
			return fmt.Errorf("closed with %d devices still to be deleted; they go on at the next start: %w", left, errdefs.ErrUnavailable)
		}
		t.changed.Wait()
	}
}
