package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
)

// ErrLocked means that another process, most often the pod's supervisor,
// holds the pod's lock.
var ErrLocked = flock.ErrHeld

// Lock is the right to make effects for one pod. A supervisor holds it as
// long as it lives, so that a lock that can be had means a pod that nobody
// looks after. The kernel drops it with the process.
type Lock struct {
	lock *flock.Lock
	path string
}

// TryLock takes the lock of a key, or returns an error that wraps ErrLocked.
func (s *Store) TryLock(k Key) (*Lock, error) {
	path := s.lockPath(k)
	if err := os.MkdirAll(LocksDir(s.cfg), 0o700); err != nil {
		return nil, fmt.Errorf("pod %s: %w", k, err)
	}
	for {
		l, err := flock.Try(path)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", k, err)
		}
		// Forget removes the file while it holds the lock. Whoever opened
		// the file before that holds a lock on nothing, and tries again.
		var st unix.Stat_t
		if err := unix.Fstat(int(l.File().Fd()), &st); err != nil {
			return nil, errors.Join(fmt.Errorf("pod %s: lock: %w", k, err), l.Release())
		}
		if st.Nlink > 0 {
			return &Lock{l, path}, nil
		}
		if err := l.Release(); err != nil {
			return nil, fmt.Errorf("pod %s: lock: %w", k, err)
		}
	}
}

// File is the locked file: a child that inherits it holds the lock too, and
// keeps it when the parent lets go.
func (l *Lock) File() *os.File { return l.lock.File() }

// InheritLock is the lock that the parent process handed over as fd.
func (s *Store) InheritLock(k Key, fd uintptr) (*Lock, error) {
	unix.CloseOnExec(int(fd))
	l, err := flock.Inherit(fd)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", k, err)
	}
	return &Lock{l, s.lockPath(k)}, nil
}

// Release drops the lock and keeps its file.
func (l *Lock) Release() error { return l.lock.Release() }

// Forget drops the lock of a pod that is no more, with its file.
func (l *Lock) Forget() error {
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.lock.Release())
}

// SetHolder leaves the holder's pid and start time in the lock file, for a
// command that must end a supervisor that hangs.
func (l *Lock) SetHolder(p Process) error {
	if err := l.lock.File().Truncate(0); err != nil {
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
	if _, err := l.lock.File().WriteAt([]byte(p.String()+"\n"), 0); err != nil {
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
	return nil
}

// Holder is the process that said it holds the lock of a key. It may have
// ended since; Process.Open tells.
func (s *Store) Holder(k Key) (Process, error) {
	data, err := os.ReadFile(s.lockPath(k))
	if err != nil {
		return Process{}, fmt.Errorf("pod %s: supervisor: %w", k, err)
	}
	return ParseProcess(string(data))
}

func (s *Store) lockPath(k Key) string {
	return filepath.Join(LocksDir(s.cfg), k.FileName()+".lock")
}
