package ipam

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/flock"
)

// Tidy removes the temporary files and lock files that killed processes left. A
// temporary file of a write under way is milliseconds old; those taken are a
// minute old at least. A lock file is taken when nobody holds it.
func (s *Store) Tidy() error {
	var errs []error
	for _, dir := range []string{s.dir, s.path("leases")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !strings.HasPrefix(e.Name(), ".tmp-") || time.Since(info.ModTime()) < time.Minute {
				continue
			}
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	errs = append(errs, s.tidyLocks())
	s.dropOld()
	return errors.Join(errs...)
}

func (s *Store) tidyLocks() error {
	entries, err := os.ReadDir(s.path("locks"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		lock, err := s.tryLockFile(s.path("locks/" + e.Name()))
		if errors.Is(err, flock.ErrHeld) {
			continue
		}
		if err == nil {
			err = lock.Release()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// SweepDue tells whether nobody has looked for dead leases for this long in
// this boot, and if so notes that somebody does now.
func (s *Store) SweepDue(every time.Duration) (bool, error) {
	path := s.path("swept")
	info, err := os.Stat(path)
	boot, readErr := os.ReadFile(path)
	if err == nil && readErr == nil && time.Since(info.ModTime()) < every && string(boot) == s.boot {
		return false, nil
	}
	return true, os.WriteFile(path, []byte(s.boot), 0o600)
}
