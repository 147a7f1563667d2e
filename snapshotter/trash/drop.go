package trash

import (
	"time"

	"github.com/varve-project/varve/internal/failpoint"
)

// drops are the paths that were dropped and are still to be moved here.
type drops struct {
	paths       []string
	first, last time.Time // when the paths came
}

// The worker leaves what was dropped alone until nothing has been for
// quiet, but no longer than patience: on a small machine it takes the
// processor, and on a journalling file system the journal, from the very
// callers that drop.
const (
	quiet    = 100 * time.Millisecond
	patience = time.Second
)

// Drop is Put that costs the caller nothing: the worker moves path soon.
// Until then path is taken, so it is for paths that are never used again;
// after a crash nobody has moved it, and the owner must find it by itself.
func (b *Bin) Drop(paths ...string) {
	if len(paths) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drops.last = time.Now()
	if len(b.drops.paths) == 0 {
		b.drops.first = b.drops.last
		time.AfterFunc(quiet, b.settled)
	}
	b.drops.paths = append(b.drops.paths, paths...)
}

// settled wakes the worker once no more is being dropped.
func (b *Bin) settled() {
	b.mu.Lock()
	now := time.Now()
	early := len(b.drops.paths) > 0 && now.Sub(b.drops.last) < quiet && now.Sub(b.drops.first) < patience
	b.mu.Unlock()
	if early {
		time.AfterFunc(quiet, b.settled)
		return
	}
	b.wake()
}

// Flush returns once everything that was dropped before is moved or has
// failed to.
func (b *Bin) Flush() {
	// Held over the moves, so that who comes meanwhile waits for them.
	b.moving.Lock()
	defer b.moving.Unlock()
	b.mu.Lock()
	paths := b.drops.paths
	b.drops.paths = nil
	b.mu.Unlock()
	for _, p := range paths {
		failpoint.Hit("trash.drop.move.before")
		if err := b.Put(p); err != nil {
			b.opts.Log.WithError(err).Warn("cannot delete; the next start tries again")
		}
		failpoint.Hit("trash.drop.move.after")
	}
}
