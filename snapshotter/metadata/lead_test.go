package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// TestLeadIsNeverLost: callers come and give up at any moment; whoever stays
// is served, what was acknowledged is there, and what never began is not.
func TestLeadIsNeverLost(t *testing.T) {
	s, _ := open(t)
	const callers, each = 16, 40
	var mu sync.Mutex
	want := map[string]bool{} // to whether it must be there; absent: nobody knows
	var group sync.WaitGroup
	for caller := range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewPCG(1, uint64(caller)))
			for i := range each {
				key := fmt.Sprintf("%d-%d", caller, i)
				ctx, cancel := context.WithCancel(context.Background())
				if caller%2 == 1 {
					time.AfterFunc(time.Duration(random.IntN(2000))*time.Microsecond, cancel)
				}
				applied := false
				w := create(key)
				apply := w.Apply
				w.Apply = func(ctx context.Context) error {
					mu.Lock()
					applied = true
					mu.Unlock()
					return apply(ctx)
				}
				err := s.Do(ctx, w)
				mu.Lock()
				switch {
				case err == nil:
					want[key] = true
				case !errors.Is(err, context.Canceled):
					t.Errorf("%s: %v", key, err)
				case caller%2 == 0:
					t.Errorf("%s: %v without a reason", key, err)
				case errors.Unwrap(err) == nil && !applied: // the bare error: it has not begun
					want[key] = false
				}
				mu.Unlock()
				cancel()
			}
		}()
	}
	group.Wait()
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, n := range names(t, s) {
		have[n] = true
	}
	for key, there := range want {
		if have[key] != there {
			t.Errorf("%s is there: %t, want %t", key, have[key], there)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseAnswersWhoWaits: the batch under way ends, the rest is refused.
func TestCloseAnswersWhoWaits(t *testing.T) {
	s, _ := open(t)
	release := block(t, s)
	answer, closed := make(chan error), make(chan error)
	go func() { answer <- s.Do(context.Background(), create("a")) }()
	for s.Waiting() < 1 {
	}
	go func() { closed <- s.Close() }()
	if err := <-answer; !errdefs.IsUnavailable(err) {
		t.Errorf("Do that waited at Close: %v, want Unavailable", err)
	}
	select {
	case err := <-closed:
		t.Error("Close returned while a batch was under way:", err)
	default:
	}
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
