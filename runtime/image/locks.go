package image

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
)

// pollInterval is how often a lock that honours a context is tried.
const pollInterval = 10 * time.Millisecond

// keyLocks are locks by name between processes and goroutines: a key is one
// byte of one file, at an offset that is a hash of the key, under an open file
// description lock (fcntl(2)). So keys need no files of their own that
// somebody would have to tidy away, and the kernel frees them when the holder
// dies. Two keys share a byte with a chance of 2^-62.
type keyLocks struct{ path string }

// keyLock is one held key. Release may be called more than once.
type keyLock struct {
	once sync.Once
	f    *os.File
}

func (k *keyLock) Release() { k.once.Do(func() { _ = k.f.Close() }) }

// try takes key, or returns an error that wraps errdefs.ErrUnavailable.
func (l keyLocks) try(key string) (*keyLock, error) {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %q: %w", key, err)
	}
	sum := sha256.Sum256([]byte(key))
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{
		Type: unix.F_WRLCK, Start: int64(binary.BigEndian.Uint64(sum[:]) >> 2), Len: 1,
	})
	if err == nil {
		return &keyLock{f: f}, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("%q is held by another process: %w", key, errdefs.ErrUnavailable)
	}
	return nil, fmt.Errorf("lock %q in %s: %w", key, l.path, err)
}

// lock takes key and waits for it as long as ctx allows.
func (l keyLocks) lock(ctx context.Context, key string) (*keyLock, error) {
	for {
		k, err := l.try(key)
		if !errdefs.IsUnavailable(err) {
			return k, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// unpackLocks is keyLocks in the shape that core/unpack wants, so that two
// processes do not unpack one layer twice. It belongs to one Unpack.
type unpackLocks struct {
	locks keyLocks
	mu    sync.Mutex
	held  map[string]*keyLock
}

func (u *unpackLocks) Lock(ctx context.Context, key string) error {
	k, err := u.locks.lock(ctx, "unpack/"+key)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held[key] = k
	return nil
}

func (u *unpackLocks) Unlock(key string) {
	u.mu.Lock()
	k := u.held[key]
	delete(u.held, key)
	u.mu.Unlock()
	if k != nil {
		k.Release()
	}
}

// gate keeps garbage collection and mutation apart, between processes: whoever
// adds a reference or an object passes (shared), for one short call at a time;
// a collection closes it (exclusive) from its marking to the end of its
// sweeping. It is what containerd's metadata has as a mutex in its process.
//
// Passing twice in one call chain is fine: flock(2) does not queue sharers
// behind one who waits for exclusion.
type gate struct{ path string }

func (g gate) pass() (*flock.Lock, error) { return flock.AcquireShared(g.path) }

func (g gate) close(ctx context.Context) (*flock.Lock, error) {
	return flock.AcquireContext(ctx, g.path)
}
