package ipam

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
)

// KeyLock is the right to work on one attachment. Release it exactly once.
type KeyLock struct {
	lock *flock.Lock
	path string
}

// Lock blocks until no other process works on k.
func (s *Store) Lock(k Key) (*KeyLock, error) { return lockFile(s.keyLockPath(k), flock.Acquire) }

// TryLock is Lock that returns an error wrapping flock.ErrHeld at once when
// another process works on k.
func (s *Store) TryLock(k Key) (*KeyLock, error) { return lockFile(s.keyLockPath(k), flock.Try) }

// lockFile takes the lock file's lock and makes sure that it is still the file of
// that name: a holder removes it on its way out, and who waited on the old
// file must not take it for the new one.
func lockFile(path string, acquire func(string) (*flock.Lock, error)) (*KeyLock, error) {
	for {
		l, err := acquire(path)
		if err != nil {
			return nil, err
		}
		same, err := sameFile(l, path)
		if err == nil && same {
			return &KeyLock{l, path}, nil
		}
		_ = l.Release()
		if err != nil {
			return nil, err
		}
	}
}

func sameFile(l *flock.Lock, path string) (bool, error) {
	var held, named unix.Stat_t
	if err := unix.Fstat(int(l.File().Fd()), &held); err != nil {
		return false, err
	}
	err := unix.Stat(path, &named)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && held.Ino == named.Ino && held.Dev == named.Dev, err
}

// Release removes the lock file and drops the lock.
func (l *KeyLock) Release() error {
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = l.lock.Release()
		return err
	}
	return l.lock.Release()
}
