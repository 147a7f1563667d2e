// Package flock holds advisory locks between processes (flock(2)). The kernel
// drops a lock when its holder dies, so a crash never leaves one behind; the
// lock file itself stays, because removing it would let two holders in.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld means that another process holds the lock.
var ErrHeld = errors.New("lock is held by another process")

// Lock is a held lock. Release it exactly once.
type Lock struct{ f *os.File }

// Acquire blocks until it holds path exclusively. It makes the file (0600)
// when absent; the folder must exist.
func Acquire(path string) (*Lock, error) { return open(path, unix.LOCK_EX) }

// AcquireShared blocks until it holds path together with other sharers.
func AcquireShared(path string) (*Lock, error) { return open(path, unix.LOCK_SH) }

// Try takes path exclusively, or returns an error that wraps ErrHeld at once.
func Try(path string) (*Lock, error) { return open(path, unix.LOCK_EX|unix.LOCK_NB) }

// AcquireContext is Acquire that gives up when ctx ends. flock(2) cannot be
// cancelled, so it polls, every 10 ms: use Acquire where no deadline matters.
func AcquireContext(ctx context.Context, path string) (*Lock, error) {
	for {
		l, err := Try(path)
		if !errors.Is(err, ErrHeld) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func open(path string, how int) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, ErrHeld)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// Inherit takes over a lock whose file the parent process handed down as fd:
// both hold it until both have let go.
func Inherit(fd uintptr) (*Lock, error) {
	f := os.NewFile(fd, "lock")
	if f == nil {
		return nil, fmt.Errorf("lock: inherited file %d is not open", fd)
	}
	if err := unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock: inherited file %d: %w", fd, errors.Join(err, f.Close()))
	}
	return &Lock{f}, nil
}

// File is the locked file, for a holder that leaves its pid in it.
func (l *Lock) File() *os.File { return l.f }

// Release drops the lock.
func (l *Lock) Release() error { return l.f.Close() }
