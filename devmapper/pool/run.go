package pool

import (
	"context"
	"fmt"
)

// maxCalls bounds the calls that are in the kernel at once. On a disk that
// hangs each of them holds a thread for as long as that lasts.
const maxCalls = 128

// task is one mutating call. The kernel's part of it cannot be interrupted, so
// it runs on a goroutine of its own, and its caller leaves when the context
// ends.
type task struct {
	// what is done, for errors: "create thin device 7 of pool vg/pool".
	what string
	ids  []ThinID
	// do honours its context between kernel calls.
	do func(context.Context) error
	// undo takes back what do did, when do succeeded after its caller had
	// been told that it failed. May be nil: the call is idempotent.
	undo func()
	// slow tasks are bounded on their own, so that they keep no others out.
	slow bool
}

func (p *Pool) run(ctx context.Context, t task) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", t.what, err)
	}
	unlock, err := p.gates.lock(ctx, t.ids...)
	if err != nil {
		return fmt.Errorf("%s: an earlier call on it has not ended: %w", t.what, err)
	}
	slots := p.slots
	if t.slow {
		slots = p.slowSlots
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		unlock()
		return fmt.Errorf("%s: %d other calls are waiting for the kernel: %w", t.what, cap(slots), ctx.Err())
	}
	if !p.begin() {
		<-slots
		unlock()
		return fmt.Errorf("%s: %w", t.what, errClosed)
	}
	answer := make(chan error)
	left := make(chan struct{})
	go func() {
		defer p.end()
		defer unlock()
		defer func() { <-slots }()
		err := t.do(ctx)
		select {
		case answer <- err:
		case <-left:
			if err == nil && t.undo != nil {
				t.undo()
			}
		}
	}()
	select {
	case err = <-answer:
	case <-ctx.Done():
		close(left)
		return fmt.Errorf("%s: the kernel has not answered; the pool may be full or its disk may hang (see `varve-devmapper pool status`): %w", t.what, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.what, err)
	}
	return nil
}

// begin counts a call in, unless the pool is closed.
func (p *Pool) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.calls.Add(1)
	return true
}

func (p *Pool) end() { p.calls.Done() }
