package crash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varve-project/varve/test/leak"
)

// noLeak fails when the kernel holds more for w than before.
func noLeak(ctx context.Context, w World, before leak.Snapshot) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	items, err := leak.Settle(ctx, before, w.Scope())
	if err != nil {
		return err
	}
	var errs []error
	for _, item := range items {
		errs = append(errs, fmt.Errorf("leaked %s", item))
	}
	return errors.Join(errs...)
}

// sameDisk compares what an emptied world left after a kill with what one
// leaves without.
func sameDisk(want, got []string) error {
	var errs []error
	for _, path := range got {
		if !slices.Contains(want, path) {
			errs = append(errs, fmt.Errorf("left on the disk: %s", path))
		}
	}
	return errors.Join(errs...)
}

// Tree lists every path below the folders, relative to the first's parent.
func Tree(dirs ...string) ([]string, error) {
	var all []string
	base := filepath.Dir(dirs[0])
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				all = append(all, strings.TrimPrefix(path, base+"/"))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
