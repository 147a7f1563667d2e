package trash

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
)

// work deletes entries one by one until ctx ends. One that fails is put
// aside: it never holds up the others.
func (b *Bin) work(ctx context.Context) {
	defer close(b.ended)
	again := time.NewTicker(retryEvery)
	defer again.Stop()
	for {
		for b.one(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-b.kick:
		case <-again.C:
			b.retry()
		}
	}
}

// one deletes the oldest entry; false means that there is none, or that the
// bin is closing.
func (b *Bin) one(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	b.Flush()
	b.mu.Lock()
	if len(b.waiting) == 0 {
		b.mu.Unlock()
		return false
	}
	name := b.waiting[0]
	b.waiting = b.waiting[1:]
	b.current = name
	b.mu.Unlock()

	err := b.delete(ctx, name)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = ""
	switch {
	case ctx.Err() != nil:
		b.waiting = append(b.waiting, name)
	case err != nil:
		b.failed[name] = err
		b.opts.Log.WithError(err).Warnf("cannot delete from the trash; trying again in %s", retryEvery)
	}
	b.changed.Broadcast()
	return true
}

func (b *Bin) delete(ctx context.Context, name string) error {
	path := filepath.Join(b.dir, name)
	var note any
	if b.opts.Before != nil {
		note = b.opts.Before(path)
	}
	failpoint.Hit("trash.delete.tree.before")
	d := deleter{bin: b, ctx: ctx}
	if err := d.all(name); err != nil {
		b.mu.Lock()
		b.waiting = append(b.waiting, d.lifted...)
		b.mu.Unlock()
		return fmt.Errorf("delete %s: %w", path, err)
	}
	failpoint.Hit("trash.delete.tree.after")
	if b.opts.After != nil {
		b.opts.After(note)
	}
	return nil
}

// short tells whether the file system runs out of blocks or inodes.
func (b *Bin) short() bool {
	var st unix.Statfs_t
	if b.opts.FreePercent <= 0 || unix.Statfs(b.dir, &st) != nil {
		return false
	}
	low := func(free, total uint64) bool {
		return total > 0 && free*100 < total*uint64(b.opts.FreePercent)
	}
	return low(st.Bavail, st.Blocks) || low(st.Ffree, st.Files)
}

// pacer spreads deletions evenly in slices of a tenth of a second.
type pacer struct {
	rate  int
	began time.Time
	spent int
}

// pace counts one deletion and sleeps when the slice's share is used up.
func (b *Bin) pace(ctx context.Context) error {
	b.freed.Add(1)
	p := &b.paces
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.spent++
	share := max(p.rate/10, 1)
	if p.spent < share {
		return nil
	}
	const slice = 100 * time.Millisecond
	rest := slice - time.Since(p.began)
	if rest > 0 && !b.short() {
		b.pauses.Add(1)
		t := time.NewTimer(rest)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	p.began, p.spent = time.Now(), 0
	return ctx.Err()
}
