package devmapper

import (
	"context"
	"fmt"
	"sync"
)

// keys lets one call at a time at each snapshot. Nobody waits for a call on
// another key.
type keys struct {
	mu   sync.Mutex
	held map[string]*hold
}

type hold struct {
	free  chan struct{} // holds a token while nobody has the key
	users int           // who has it or waits for it
}

// take waits for the key, until ctx ends. Release is called exactly once.
func (k *keys) take(ctx context.Context, key string) (release func(), err error) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*hold{}
	}
	h := k.held[key]
	if h == nil {
		h = &hold{free: make(chan struct{}, 1)}
		h.free <- struct{}{}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.held, key)
		}
	}
	// Ended already: the choice below would be anybody's.
	if err := ctx.Err(); err != nil {
		leave()
		return nil, err
	}
	select {
	case <-h.free:
		return func() {
			h.free <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("another call on it has not ended: %w", ctx.Err())
	}
}
