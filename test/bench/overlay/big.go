package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// bigFiles is the size of the big snapshot; folders hold a hundred each.
const bigFiles = 50_000

// measureBig times Commit and Remove of a snapshot of many files, in
// milliseconds, and the deletion that Remove left for later.
func measureBig(ctx context.Context, c Contender, key string, files int) (map[string]float64, error) {
	active := mounted{key: key}
	var err error
	if active.mounts, err = c.Prepare(ctx, key, "", keep); err != nil {
		return nil, fmt.Errorf("prepare on %s: %w", c.Name, err)
	}
	unix.Sync() // what others left dirty is not this commit's to write
	if err := fill(upperDir(active.mounts), files); err != nil {
		return nil, err
	}
	times := map[string]float64{}
	timed := func(name string, step func() error) {
		start := time.Now()
		err = errors.Join(err, step())
		times[name] = milliseconds(time.Since(start))
	}
	timed("commit", func() error { return c.commit(ctx, key+"-c", active) })
	timed("remove", func() error { return c.Remove(ctx, key+"-c") })
	timed("remove and cleanup", func() error { return c.settle(ctx) })
	times["remove and cleanup"] += times["remove"]
	if err != nil {
		return nil, fmt.Errorf("snapshot of %d files on %s: %w", files, c.Name, err)
	}
	return times, nil
}

func fill(dir string, files int) error {
	for i := range files {
		folder := filepath.Join(dir, fmt.Sprintf("d%03d", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(folder, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%02d", i%100)), []byte("varve\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
