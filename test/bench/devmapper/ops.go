package devmapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/varve-project/varve/test/bench/result"
)

// operations in the order in which they are measured.
var operations = []string{"prepare", "mounts", "commit", "view", "remove"}

// ops measures each operation n times, one after the other, on a child of the
// base. Whatever it makes it removes.
func (b *bench) ops(ctx context.Context, c Contender, key string) (map[string]float64, error) {
	n := b.options.scale(opsEach)
	active := make([][]mount.Mount, n)
	id := func(i int) string { return fmt.Sprintf("%s-%d", key, i) }
	steps := map[string]func(i int) error{
		"prepare": func(i int) (err error) {
			active[i], err = c.Prepare(ctx, id(i), base)
			return err
		},
		"mounts": func(i int) error { _, err := c.Mounts(ctx, id(i)); return err },
		"commit": func(i int) error { return c.Commit(ctx, id(i)+"-c", id(i)) },
		"view":   func(i int) error { _, err := c.View(ctx, id(i)+"-v", id(i)+"-c"); return err },
		"remove": func(i int) error { return c.Remove(ctx, id(i)+"-c") },
	}
	between := map[string]func(i int) error{ // not measured
		"mounts": func(i int) error { return fill(active[i], 1, 64<<10) },
		"view":   func(i int) error { return c.Remove(ctx, id(i)+"-v") },
	}
	figures := map[string]float64{}
	for _, op := range operations {
		times := make([]float64, n)
		for i := range n {
			took, err := timed(func() error { return steps[op](i) })
			if err != nil {
				return nil, fmt.Errorf("%s on %s: %w", op, c.Name, err)
			}
			times[i] = took
		}
		for i := range n {
			if between[op] == nil {
				break
			}
			if err := between[op](i); err != nil {
				return nil, fmt.Errorf("after %s on %s: %w", op, c.Name, err)
			}
		}
		if err := c.cleanup(ctx); err != nil { // its own work is not the next one's
			return nil, err
		}
		figures[op+" p50"], figures[op+" p99"] = result.Percentile(times, 50), result.Percentile(times, 99)
	}
	return figures, nil
}

// first measures a snapshot without a parent.
func (b *bench) first(ctx context.Context, c Contender, key string) (map[string]float64, error) {
	took, err := timed(func() error { _, err := c.Prepare(ctx, key+"-first", ""); return err })
	if err != nil {
		return nil, fmt.Errorf("prepare without a parent on %s: %w", c.Name, err)
	}
	return map[string]float64{"prepare without a parent": took}, errors.Join(c.Remove(ctx, key+"-first"), c.cleanup(ctx))
}

// makeBase commits the base, with a hundred small files.
func makeBase(ctx context.Context, c Contender) error {
	mounts, err := c.Prepare(ctx, base+"-active", "")
	if err != nil {
		return fmt.Errorf("prepare a base on %s: %w", c.Name, err)
	}
	if err := fill(mounts, 100, 4096); err != nil {
		return err
	}
	return c.Commit(ctx, base, base+"-active")
}

// fill writes files of so many bytes into an active snapshot; they are on its
// device when it returns.
func fill(mounts []mount.Mount, files, bytes int) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	if err := mount.All(mounts, dir); err != nil {
		return err
	}
	body := make([]byte, bytes)
	for i := range body {
		body[i] = byte(i)
	}
	for i := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d", i)), body, 0o644))
	}
	return errors.Join(err, mount.UnmountAll(dir, 0), os.Remove(dir))
}

// timed returns milliseconds.
func timed(step func() error) (float64, error) {
	start := time.Now()
	err := step()
	return float64(time.Since(start)) / float64(time.Millisecond), err
}
