package pool

import (
	"context"
	"slices"
	"sync"
)

// gates let one call at a time through for each thin id. A call whose caller
// has given up keeps its gates until the kernel has answered, so that nothing
// of it can overtake, or be overtaken by, what is called next.
type gates struct {
	mu   sync.Mutex
	held map[ThinID]*gate
}

type gate struct {
	token chan struct{} // holds one element while the gate is free
	users int           // holders and waiters
}

// lock passes the gates of all ids, in order, or returns ctx's error.
func (g *gates) lock(ctx context.Context, list ...ThinID) (unlock func(), err error) {
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	for i, id := range list {
		if err := g.enter(ctx, id); err != nil {
			g.leave(list[:i])
			return nil, err
		}
	}
	return func() { g.leave(list) }, nil
}

func (g *gates) enter(ctx context.Context, id ThinID) error {
	g.mu.Lock()
	if g.held == nil {
		g.held = map[ThinID]*gate{}
	}
	one := g.held[id]
	if one == nil {
		one = &gate{token: make(chan struct{}, 1)}
		one.token <- struct{}{}
		g.held[id] = one
	}
	one.users++
	g.mu.Unlock()
	select {
	case <-one.token:
		return nil
	case <-ctx.Done():
		g.drop(id, one)
		return ctx.Err()
	}
}

func (g *gates) leave(list []ThinID) {
	for _, id := range list {
		g.mu.Lock()
		one := g.held[id]
		g.mu.Unlock()
		one.token <- struct{}{}
		g.drop(id, one)
	}
}

func (g *gates) drop(id ThinID, one *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(g.held, id)
	}
}
