package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/log"
)

// fakePool is a kernel's pool and the group below it, in fake time.
type fakePool struct {
	mu     sync.Mutex
	status Status
	wake   chan struct{}
	// hang makes Status and SetErrorIfFull wait for it to close.
	hang                         chan struct{}
	statusErr, setErr, extendErr error
	room                         uint64
	slowExtend                   time.Duration
	counts
}

// counts are what was asked of it.
type counts struct {
	looks, rooms, extends, sets int
	extendAt, setAt             []time.Time
}

// saw returns the counts and the status now.
func (p *fakePool) saw() (counts, Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts, p.status
}

func newFake(change func(*Status)) *fakePool {
	p := &fakePool{room: 100 * gib}
	p.status = scene(func(*Scene) {}).Status
	change(&p.status)
	return p
}

// event changes the pool and sends an event.
func (p *fakePool) event(change func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.status)
	p.status.Event++
	close(p.wake)
	p.wake = make(chan struct{})
}

// quietly changes the pool without an event.
func (p *fakePool) quietly(change func(*fakePool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *fakePool) stuck(ctx context.Context) error {
	p.mu.Lock()
	hang := p.hang
	p.mu.Unlock()
	if hang != nil {
		<-hang // an ioctl knows no context
	}
	return ctx.Err()
}

func (p *fakePool) Status(ctx context.Context) (Status, error) {
	if err := p.stuck(ctx); err != nil {
		return Status{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks++
	return p.status, p.statusErr
}

func (p *fakePool) Wait(ctx context.Context, event uint32) (uint32, error) {
	for {
		p.mu.Lock()
		now, wake := p.status.Event, p.wake
		p.mu.Unlock()
		if now != event {
			return now, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (p *fakePool) SetErrorIfFull(ctx context.Context, fail bool) error {
	if err := p.stuck(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sets++
	p.setAt = append(p.setAt, time.Now())
	if p.setErr == nil {
		p.status.ErrorIfFull = fail
	}
	return p.setErr
}

func (p *fakePool) Room(context.Context) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rooms++
	return p.room, nil
}

func (p *fakePool) Extend(ctx context.Context, by Extension) error {
	p.mu.Lock()
	slow := p.slowExtend
	p.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.extends++
	p.extendAt = append(p.extendAt, time.Now())
	switch {
	case p.extendErr != nil:
		return p.extendErr
	case by.Data+by.Metadata > p.room:
		return fmt.Errorf("asked for %+v of %d", by, p.room)
	}
	p.room -= by.Data + by.Metadata
	p.status.Data.Total += by.Data
	p.status.Metadata.Total += by.Metadata
	if p.status.Mode == OutOfData && by.Data > 0 {
		p.status.Mode = Write
	}
	return nil
}

// with runs fn beside a guard in fake time.
func with(t *testing.T, p *fakePool, l Limits, fn func(t *testing.T, g *Guard, logged *journal)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		p.wake = make(chan struct{}) // of this bubble
		logged := &journal{}
		var store Store
		if l.Group != "" {
			store = p
		}
		g, err := Start(context.Background(), Options{
			Limits: l, Pool: p, Store: store, Log: logged.entry(),
			KernelTimeout: func() time.Duration { return time.Minute },
		})
		if err != nil {
			t.Fatal(err)
		}
		fn(t, g, logged)
		if err := g.Close(); err != nil && !errors.Is(err, errSilent) {
			t.Error(err)
		}
	})
}

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) entry() *log.Entry {
	logger := newLike(log.L.Logger)
	logger.Out, logger.Formatter, logger.Level = j, log.L.Logger.Formatter, log.DebugLevel
	entry := log.L.Dup()
	entry.Logger = logger
	return entry
}

// newLike is a new value of the type, whose package is not ours to name.
func newLike[T any](*T) *T { return new(T) }

// at lists what was said at a level.
func (j *journal) at(level string) (lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range strings.Split(j.text.String(), "\n") {
		if strings.Contains(line, "level="+level) {
			lines = append(lines, line)
		}
	}
	return lines
}
