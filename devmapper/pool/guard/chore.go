package guard

import (
	"sync"
	"time"
)

// chore is something slow of which one runs at a time, and which is tried
// again ever later while it fails.
type chore[T any] struct {
	done    chan result[T]
	running bool
	last    time.Time // when the last one ended
	err     error     // of the last one
	delay   time.Duration
	wg      *sync.WaitGroup
}

type result[T any] struct {
	value T
	err   error
}

// newChore makes a chore whose goroutines wg counts.
func newChore[T any](wg *sync.WaitGroup) chore[T] {
	return chore[T]{done: make(chan result[T], 1), wg: wg}
}

// ready tells whether the chore may begin now.
func (c *chore[T]) ready(now time.Time) bool {
	return !c.running && (c.delay == 0 || now.Sub(c.last) >= c.delay)
}

func (c *chore[T]) start(do func() (T, error)) {
	c.running = true
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		value, err := do()
		c.done <- result[T]{value, err}
	}()
}

// ended notes a result. again is whether the next attempt must wait longer.
func (c *chore[T]) ended(err error, again bool) {
	c.running, c.last, c.err = false, time.Now(), err
	if !again {
		c.delay = 0
		return
	}
	c.delay = min(max(2*c.delay, firstRetry), lastRetry)
}

// settled forgets failures: the chore is not called for any more.
func (c *chore[T]) settled() {
	if !c.running {
		c.err, c.delay = nil, 0
	}
}
