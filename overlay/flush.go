package overlay

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// flusher writes the file system's dirty data to the disk. It is syncfs(2)
// and not an fsync per file: a layer may have tens of thousands of files, and
// on a journalling file system each fsync is a journal commit of its own.
// Calls that come while one runs share the next.
type flusher struct {
	// dir stays open: the kernel reports a failed write-back once to every
	// descriptor that was open when it happened (since 5.8).
	dir *os.File

	mu   sync.Mutex
	next *flushing // the one that has not begun yet
	busy bool
}

type flushing struct {
	done chan struct{}
	err  error
}

func newFlusher(root string) (*flusher, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	return &flusher{dir: dir}, nil
}

// Flush returns once all that was written before the call is on the disk. It
// honours ctx, although the kernel's own work goes on.
func (f *flusher) Flush(ctx context.Context) error {
	f.mu.Lock()
	if f.next == nil {
		f.next = &flushing{done: make(chan struct{})}
		if !f.busy {
			f.busy = true
			go f.run()
		}
	}
	mine := f.next
	f.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the data to reach the disk: %w", ctx.Err())
	}
}

// run flushes as long as somebody waits.
func (f *flusher) run() {
	for {
		f.mu.Lock()
		mine := f.next
		f.next = nil
		if mine == nil {
			f.busy = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		if err := unix.Syncfs(int(f.dir.Fd())); err != nil {
			mine.err = fmt.Errorf("write data to the disk (syncfs of %s): %w; look at the kernel log for I/O errors", f.dir.Name(), err)
		}
		close(mine.done)
	}
}

func (f *flusher) Close() error { return f.dir.Close() }
