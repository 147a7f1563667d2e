package pool

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/failpoint"
)

// A start reserves a small window, because a crash loses what is left of it;
// then larger ones, because each costs a write.
const (
	firstWindow = 64
	laterWindow = 1024
)

// ids hands out thin ids from a window that the record has reserved. The next
// window is fetched in the background before the present one is used up.
type ids struct {
	ledger *ledger

	mu       sync.Mutex
	next     ThinID // the next id to give
	end      ThinID // the first id that is not reserved
	size     ThinID // of the next window
	spare    ThinID // so few left, and the next window is fetched
	foreign  []ThinID
	fetching chan struct{} // closed when the fetch under way ends; else nil
	err      error         // of the last fetch
	closed   bool
}

func newIDs(l *ledger) *ids {
	r := l.get()
	return &ids{ledger: l, next: r.NextID, end: r.NextID, size: firstWindow, foreign: r.Foreign}
}

// take returns an id that was never given before.
func (w *ids) take(ctx context.Context) (ThinID, error) {
	for {
		id, wait, err := w.try()
		if err != nil || id != 0 {
			return id, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return 0, fmt.Errorf("reserve thin ids: the catalog's disk has not answered: %w", ctx.Err())
		}
	}
}

// try takes an id, or says what to wait for.
func (w *ids) try() (ThinID, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.next < w.end {
		id := w.next
		w.next++
		if w.end-w.next < w.spare {
			w.fetch()
		}
		if !slices.Contains(w.foreign, id) {
			return id, nil, nil
		}
	}
	if err := w.err; err != nil && w.fetching == nil {
		w.err = nil // the next caller tries again
		return 0, nil, err
	}
	if w.end > maxID {
		return 0, nil, fmt.Errorf("all %d thin ids of the pool have been given out, and none is used twice: move to a new pool: %w", maxID, errdefs.ErrResourceExhausted)
	}
	w.fetch()
	if w.fetching == nil {
		return 0, nil, fmt.Errorf("the pool is closed: %w", errdefs.ErrFailedPrecondition)
	}
	return 0, w.fetching, nil
}

// fetch reserves the next window in the background, unless that is under way.
// The caller holds the lock.
func (w *ids) fetch() {
	if w.fetching != nil || w.closed || w.end > maxID {
		return
	}
	done := make(chan struct{})
	w.fetching = done
	end := min(w.end+w.size, maxID+1)
	go func() {
		defer close(done)
		failpoint.Hit("pool.newid.reserve.before")
		err := w.ledger.update(func(r *record) { r.NextID = max(r.NextID, end) })
		failpoint.Hit("pool.newid.reserve.after")
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fetching = nil
		if w.err = err; err == nil {
			w.spare = (end - w.end) / 4
			w.end, w.size = end, laterWindow
		}
	}()
}

// close gives back what was reserved and not handed out.
func (w *ids) close() error {
	w.mu.Lock()
	w.closed = true
	pending := w.fetching
	w.mu.Unlock()
	if pending != nil {
		<-pending
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == w.end {
		return nil
	}
	w.end = w.next
	return w.ledger.update(func(r *record) { r.NextID = w.next })
}

// given is the first id that has not been handed out.
func (w *ids) given() ThinID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next
}
