// Package trash deletes directory trees behind the caller's back: Put moves
// a tree aside with one rename, a single worker deletes it, Wait blocks
// until everything put before is gone, and Open goes on where a killed
// process stopped.
//
// The bin is a directory on the same file system as what goes into it. All
// in it is nobody's any more; the package never looks anywhere else. Image
// content is hostile: deletion goes through directory descriptors, follows
// no link, and needs neither a path's length nor a descriptor per level.
package trash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// Options of a bin. The zero value deletes as fast as it can.
type Options struct {
	// Rate bounds how many directory entries are deleted per second, so that
	// a big layer does not starve the journal; 0 is no bound.
	Rate int
	// FreePercent: the rate is lifted while the file system has less than
	// this share of its blocks or inodes free. Somebody waits for that space
	// (kubelet evicts pods when its image GC frees nothing).
	FreePercent int
	// Before is called with the path of an entry before it is deleted, After
	// with what Before returned once it is gone. A driver takes note there
	// of what hangs on the tree (a project id) and gives it back. May be nil.
	Before func(path string) any
	After  func(note any)
	// Log hears about entries that cannot be deleted. Required.
	Log *log.Entry
}

// Bin is an open trash directory. Its methods may be called concurrently.
type Bin struct {
	dir  string
	opts Options
	next atomic.Uint64 // the number of the next entry

	mu      sync.Mutex
	changed *sync.Cond
	waiting []string         // names not yet tried, oldest first
	failed  map[string]error // names that could not be deleted, retried later
	current string
	drops   drops

	moving sync.Mutex
	stop   context.CancelFunc
	ended  chan struct{}
	kick   chan struct{}
	freed  atomic.Int64
	pauses atomic.Int64
	paces  pacer
	closed bool
}

// Open opens the bin, making the directory when there is none, and starts
// the worker on what a former process left. Close it exactly once.
func Open(dir string, opts Options) (*Bin, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("trash: %w", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("trash: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &Bin{
		dir: dir, opts: opts, failed: map[string]error{},
		stop: stop, ended: make(chan struct{}), kick: make(chan struct{}, 1),
		paces: pacer{rate: opts.Rate},
	}
	b.changed = sync.NewCond(&b.mu)
	for _, e := range left {
		b.waiting = append(b.waiting, e.Name())
		if n, _, ok := number(e.Name()); ok && n >= b.next.Load() {
			b.next.Store(n + 1)
		}
	}
	sort.Strings(b.waiting)
	go b.work(ctx)
	b.wake()
	return b, nil
}

// number splits an entry's name "NUMBER-BASE".
func number(name string) (n uint64, base string, ok bool) {
	for i := range name {
		if name[i] == '-' {
			n, err := strconv.ParseUint(name[:i], 10, 64)
			return n, name[i+1:], err == nil
		}
	}
	return 0, "", false
}

// Put moves the tree at path into the bin; when it returns, path is free.
// Putting what is absent is no error: a start after a crash repeats Puts.
func (b *Bin) Put(path string) error {
	for {
		name := fmt.Sprintf("%012d-%s", b.next.Add(1)-1, filepath.Base(path))
		// RENAME_NOREPLACE: an empty directory of that name would be
		// replaced silently otherwise.
		err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, filepath.Join(b.dir, name), unix.RENAME_NOREPLACE)
		switch {
		case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("move %s to the trash: %w", path, err)
		}
		b.mu.Lock()
		b.waiting = append(b.waiting, name)
		b.mu.Unlock()
		b.wake()
		return nil
	}
}

func (b *Bin) wake() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Backlog tells how many entries wait for deletion, and how many of these
// could not be deleted so far.
func (b *Bin) Backlog() (waiting, failed int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting = len(b.waiting) + len(b.failed)
	if b.current != "" {
		waiting++
	}
	return waiting, len(b.failed)
}

// Deleted counts the directory entries deleted since Open.
func (b *Bin) Deleted() int64 { return b.freed.Load() }

// Pauses counts how often deletion rested to keep to the rate.
func (b *Bin) Pauses() int64 { return b.pauses.Load() }

// Wait blocks until everything that was put before the call is deleted, or
// has been tried and failed: then the error names it. It ends early with
// ctx's error.
func (b *Bin) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	})
	defer stop()
	b.Flush()
	b.retry()
	b.mu.Lock()
	defer b.mu.Unlock()
	mine := map[string]bool{}
	for _, n := range b.waiting {
		mine[n] = true
	}
	if b.current != "" {
		mine[b.current] = true
	}
	for {
		left := 0
		for _, n := range append(b.waiting, b.current) {
			if mine[n] {
				left++
			}
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("trash %s: %d entries are still to be deleted: %w", b.dir, left, ctx.Err())
		case left == 0:
			return b.failure(mine)
		case b.closed:
			return fmt.Errorf("trash %s: closed with %d entries still to be deleted; they go on at the next start", b.dir, left)
		}
		b.changed.Wait()
	}
}

// failure joins the errors of the entries in mine.
func (b *Bin) failure(mine map[string]bool) error {
	var errs []error
	for n, err := range b.failed {
		if mine[n] {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// retry queues what failed once more.
func (b *Bin) retry() {
	b.mu.Lock()
	for n := range b.failed {
		b.waiting = append(b.waiting, n)
		delete(b.failed, n)
	}
	b.mu.Unlock()
	b.wake()
}

// Close stops the worker where it is; the rest waits for the next Open, and
// what was dropped waits in the bin by then.
func (b *Bin) Close() error {
	b.stop()
	<-b.ended
	b.Flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed.Broadcast()
	return nil
}

// retryEvery is how long an entry that could not be deleted rests.
const retryEvery = time.Minute
