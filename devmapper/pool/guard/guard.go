package guard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/varve-project/varve/internal/finding"
)

// Pool is the pool that is watched, as its owner serves it.
type Pool interface {
	// Status reads the pool's state without making it commit.
	Status(ctx context.Context) (Status, error)
	// Wait returns the pool's event number as soon as it is not event.
	Wait(ctx context.Context, event uint32) (uint32, error)
	// SetErrorIfFull makes writes to a full pool fail (true) or wait. Writes
	// that wait already fail with it. It stays until the pool's next table.
	SetErrorIfFull(ctx context.Context, fail bool) error
}

// Store is where the pool can grow. Its methods may take long (LVM).
type Store interface {
	// Room is how many bytes the volume group could still add.
	Room(ctx context.Context) (uint64, error)
	// Extend grows the pool's spaces by at least as much, rounded up to what
	// the store deals in, and makes the pool use it.
	Extend(ctx context.Context, by Extension) error
}

// Options are for Start.
type Options struct {
	Limits Limits
	Pool   Pool
	// Store is nil for a pool that only a person can extend.
	Store Store
	// Log takes what a person should hear: findings when they come and go,
	// and extensions. Each is said once.
	Log *log.Entry
	// KernelTimeout is KernelTimeout but in tests.
	KernelTimeout func() time.Duration
}

// Periods of the clock.
const (
	// slowTick is between two looks at a pool with space. It is what a pool
	// without a low-water mark is found by.
	slowTick = 5 * time.Second
	// fastTick is between two looks at one that is near a limit. At a
	// gigabyte a second, that is 1 GB.
	fastTick = time.Second
	// fresh is how old a look may be, with little left, that new space is
	// admitted by.
	fresh = 100 * time.Millisecond
	// patience is how long the kernel may take for a status.
	patience = 10 * time.Second
	// roomPeriod is between two looks at the volume group while nothing is
	// to be extended: an LVM command each.
	roomPeriod = 10 * time.Minute
	// firstRetry doubles up to lastRetry with every failure.
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
	// extendPatience bounds one extension.
	extendPatience = 10 * time.Minute
)

// View is what the guard knows at a moment.
type View struct {
	Scene
	Verdict
	// At is when the pool was looked at.
	At time.Time
}

// Guard watches a pool until it is closed. It is a prometheus.Collector.
type Guard struct {
	limits        Limits
	pool          Pool
	store         Store
	log           *log.Entry
	kernelTimeout func() time.Duration
	metrics       metrics

	view   atomic.Pointer[View]
	asked  chan chan struct{}
	events chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Start looks at the pool for the first time, and goes on watching it behind
// the caller's back until Close. An error of the first look is returned.
func Start(ctx context.Context, o Options) (*Guard, error) {
	g := &Guard{
		limits: o.Limits, pool: o.Pool, store: o.Store, log: o.Log, kernelTimeout: o.KernelTimeout,
		asked: make(chan chan struct{}), events: make(chan struct{}, 1),
	}
	if g.log == nil {
		g.log = log.G(ctx)
	}
	if g.kernelTimeout == nil {
		g.kernelTimeout = KernelTimeout
	}
	status, err := g.pool.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch pool %s: %w", o.Limits.Pool, err)
	}
	ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w := newWatch(g)
	w.saw(status, nil)
	g.done.Add(2)
	go func() { defer g.done.Done(); w.run(ctx) }()
	go func() { defer g.done.Done(); g.waitForEvents(ctx, status.Event) }()
	return g, nil
}

// Close ends the watching. An extension that is under way is given up, and
// waited for, but not for ever: what hangs in the kernel is left behind with
// an error.
func (g *Guard) Close() error {
	g.cancel()
	over := make(chan struct{})
	go func() { g.done.Wait(); close(over) }()
	select {
	case <-over:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("stop watching pool %s: %w; what was asked of it goes on there", g.limits.Pool, errSilent)
	}
}

// Admit tells whether new space may be asked of the pool, by the last look. It
// costs no system call; where little is left and the last look is not fresh,
// it has one made for those who ask next. ErrResourceExhausted below a floor,
// ErrUnavailable of a pool that cannot be written; both name pool, fill and
// remedy.
func (g *Guard) Admit() error {
	v := g.view.Load()
	if v.Low && time.Since(v.At) > fresh {
		g.wake()
	}
	if v.Admit != nil {
		g.metrics.refusals.Add(1)
	}
	return v.Admit
}

// wake has the pool looked at soon.
func (g *Guard) wake() {
	select {
	case g.events <- struct{}{}:
	default: // a look is due already
	}
}

// View returns the last look.
func (g *Guard) View() View { return *g.view.Load() }

// Findings returns what was wrong at the last look.
func (g *Guard) Findings() finding.List { return g.view.Load().Findings }

// Look looks at the pool now and returns when the look is over; one that is
// under way already is waited for, and then another is made.
func (g *Guard) Look(ctx context.Context) (View, error) {
	over := make(chan struct{})
	for _, step := range []func() error{
		func() error { return send(ctx, g.asked, over) },
		func() error { return receive(ctx, over) },
	} {
		if err := step(); err != nil {
			return View{}, fmt.Errorf("look at pool %s: %w", g.limits.Pool, err)
		}
	}
	return g.View(), nil
}

func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func receive(ctx context.Context, from <-chan struct{}) error {
	select {
	case <-from:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitForEvents wakes the watch at every event.
func (g *Guard) waitForEvents(ctx context.Context, event uint32) {
	for ctx.Err() == nil {
		next, err := g.pool.Wait(ctx, event)
		if err == nil && next != event {
			event = next
			g.wake()
			continue
		}
		// The clock goes on without events.
		select {
		case <-ctx.Done():
		case <-time.After(slowTick):
		}
	}
}

// unreadable is the view of a pool whose status cannot be had.
func (g *Guard) unreadable(err error) View {
	v := View{At: time.Now()}
	if last := g.view.Load(); last != nil {
		v.Scene = last.Scene
	}
	v.Low = true
	kind := errdefs.ErrUnavailable
	v.Admit = &refusal{kind: kind, text: fmt.Sprintf("the state of pool %s cannot be read: %v; see `varve-devmapper pool status` and the kernel's log (dmesg)", g.limits.Pool, err)}
	f := finding.Finding{
		ID: Unreadable, Severity: finding.Error, Object: g.limits.Pool,
		Text:    fmt.Sprintf("The pool's state cannot be read: %v.", err),
		Meaning: "Nothing new is admitted. Its disk may hang, or the pool may have been removed.",
		Remedy:  "Look at the kernel's log (dmesg) for the disk. A pool that is not active any more is activated by a restart of the daemon.",
		Command: "varve-devmapper pool status",
	}
	v.Findings = finding.List{f}
	return v
}

var errSilent = errors.New("the kernel has not answered for " + patience.String())
