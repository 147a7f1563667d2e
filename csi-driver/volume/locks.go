package volume

import (
	"fmt"
	"sync"
)

// Locks keep two calls off one object. CSI wants the second caller answered
// with ABORTED, not kept waiting, so nothing here blocks.
type Locks struct {
	mu   sync.Mutex
	held map[string]int // readers; -1 is a writer
}

// Exclusive takes key for one caller, or answers ErrPending. Release is called
// exactly once.
func (l *Locks) Exclusive(key string) (release func(), err error) { return l.take(key, -1) }

// Shared takes key together with other sharers, or answers ErrPending: many
// volumes may be restored from one snapshot at once, but none while it is
// being deleted.
func (l *Locks) Shared(key string) (release func(), err error) { return l.take(key, 1) }

func (l *Locks) take(key string, n int) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]int{}
	}
	if now := l.held[key]; now < 0 || now > 0 && n < 0 {
		return nil, fmt.Errorf("%s: %w; try again", key, ErrPending)
	}
	l.held[key] += n
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held[key] -= n
		if l.held[key] == 0 {
			delete(l.held, key)
		}
	}, nil
}
