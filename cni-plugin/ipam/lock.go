package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
)

// KeyLock is the right to work on one attachment. Release it exactly once.
//
// It is a lock on a file of the key's, under a shared one on the folder of
// those files. Where the disk has no room for the file, an exclusive lock on
// the folder does: a full disk must not keep containers from going.
type KeyLock struct {
	dir  int
	lock *flock.Lock // nil: the folder's
	path string
}

// Lock blocks until no other process works on k.
func (s *Store) Lock(k Key) (*KeyLock, error) { return s.lockFile(s.keyLockPath(k), flock.Acquire, 0) }

// TryLock is Lock that returns an error wrapping flock.ErrHeld at once when
// another process works on k.
func (s *Store) TryLock(k Key) (*KeyLock, error) { return s.tryLockFile(s.keyLockPath(k)) }

func (s *Store) tryLockFile(path string) (*KeyLock, error) {
	return s.lockFile(path, flock.Try, unix.LOCK_NB)
}

// lockFile takes the lock file's lock. nonblock is added to how the folder's is
// taken.
func (s *Store) lockFile(path string, acquire func(string) (*flock.Lock, error), nonblock int) (*KeyLock, error) {
	dir, err := lockFolder(s.path("locks"), unix.LOCK_SH|nonblock)
	if err != nil {
		return nil, err
	}
	l, err := lockNamed(path, acquire)
	if err == nil {
		return &KeyLock{dir, l, path}, nil
	}
	_ = unix.Close(dir)
	if !IsFull(err) {
		return nil, err
	}
	if dir, err = lockFolder(s.path("locks"), unix.LOCK_EX|nonblock); err != nil {
		return nil, err
	}
	return &KeyLock{dir: dir}, nil
}

// IsFull tells whether an error means that the disk, or the share of it that is
// ours, has no room left.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// lockFolder returns the descriptor that holds the lock.
func lockFolder(path string, how int) (int, error) {
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("lock: open %s: %w", path, err)
	}
	for {
		err = unix.Flock(dir, how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = flock.ErrHeld
	}
	if err != nil {
		_ = unix.Close(dir)
		return -1, fmt.Errorf("lock %s: %w", path, err)
	}
	return dir, nil
}

// lockNamed takes a file's lock and makes sure that it is still the file of
// that name: a holder removes it on its way out, and who waited on the old
// file must not take it for the new one.
func lockNamed(path string, acquire func(string) (*flock.Lock, error)) (*flock.Lock, error) {
	for {
		l, err := acquire(path)
		if err != nil {
			return nil, err
		}
		same, err := sameFile(l, path)
		if err == nil && same {
			return l, nil
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
	defer unix.Close(l.dir)
	if l.lock == nil {
		return nil
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = l.lock.Release()
		return err
	}
	return l.lock.Release()
}
