package server

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

// within runs one call under its deadline. A driver that hangs in the kernel
// cannot be interrupted: the client is answered all the same, and the call
// keeps its place in the count until it comes back.
func within[Req, Resp any](ctx context.Context, s *Server, limit time.Duration, req Req, call func(context.Context, Req) (Resp, error)) (Resp, error) {
	var none Resp
	select {
	case s.calls <- struct{}{}:
	default:
		return none, errgrpc.ToGRPC(fmt.Errorf("%d calls are under way already (max_calls); is the disk hung?: %w", cap(s.calls), errdefs.ErrResourceExhausted))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	type answer struct {
		resp Resp
		err  error
	}
	done := make(chan answer, 1)
	s.crew.run(func() {
		defer func() { <-s.calls }()
		defer cancel()
		resp, err := call(ctx, req)
		done <- answer{resp, err}
	})
	select {
	case a := <-done:
		return a.resp, a.err
	case <-ctx.Done():
	}
	// The driver honours its context and usually answers by itself, with
	// more to say than we have.
	select {
	case a := <-done:
		return a.resp, a.err
	case <-time.After(answerGrace):
		return none, errgrpc.ToGRPC(fmt.Errorf("no answer within %s: %w", limit, ctx.Err()))
	}
}

// answerGrace is how long a driver has to answer after its context ended.
const answerGrace = 100 * time.Millisecond

// crew runs functions beside the caller. As many goroutines as there are
// processors stay for the next function: they have grown the stack that a
// call takes, which is a tenth of the cost of a short one. They stay as long
// as the process.
type crew struct {
	next chan func()
	stay atomic.Int32
}

// run returns at once; f begins at once too, however many others hang.
func (c *crew) run(f func()) {
	select {
	case c.next <- f:
	default:
		go c.work(f)
	}
}

func (c *crew) work(f func()) {
	f()
	if int(c.stay.Add(1)) > runtime.NumCPU() {
		c.stay.Add(-1)
		return
	}
	for f := range c.next {
		f()
	}
}
