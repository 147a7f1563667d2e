package service

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/varve-project/varve/internal/flock"
)

// lockRoot makes the root (0700) and locks it against a second instance.
//
// A folder that exists keeps its mode, since it may be one that others need
// to pass through; one that everybody may write to is refused.
func lockRoot(root string) (*flock.Lock, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		return nil, fmt.Errorf("root %s: its mode %#o lets everybody write to it; run: chmod 700 %s", root, mode, root)
	}
	lock, err := lockWithPID(filepath.Join(root, "lock"))
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("root %s is in use: %w; stop that process, or give --root another folder", root, err)
	}
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", root, err)
	}
	return lock, nil
}

// lockWithPID takes the lock and leaves the own process id in the file, for
// the error of whoever comes second.
func lockWithPID(path string) (*flock.Lock, error) {
	lock, err := flock.Try(path)
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("%w (process %s)", err, holder(path))
	}
	if err != nil {
		return nil, err
	}
	err = lock.File().Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(lock.File(), os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), lock.Release())
	}
	return lock, nil
}

// holder reads the process id that a holder left; "unknown" in the moment
// between its lock and its note.
func holder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = f.Close() }()
	note, err := io.ReadAll(io.LimitReader(f, 20))
	if pid := strings.TrimSpace(string(note)); err == nil && pid != "" {
		return pid
	}
	return "unknown"
}
