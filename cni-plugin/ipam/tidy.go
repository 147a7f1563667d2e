package ipam

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Tidy removes the temporary files that killed processes left. A file of a
// write under way is milliseconds old; those taken are a minute old at least.
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
	s.dropOld()
	return errors.Join(errs...)
}
