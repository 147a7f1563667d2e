package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// operations in the order in which they are measured.
var operations = []string{"prepare", "mounts", "commit", "view", "remove"}

// keep makes containerd's garbage collector leave a snapshot alone.
var keep = snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "bench"})

// measureOps runs each operation clients×each times on contender c and returns
// the time of each call in milliseconds. Whatever it makes it removes.
func measureOps(ctx context.Context, c Contender, prefix string, clients, each int) (map[string][]float64, error) {
	base := prefix + "-base"
	if err := makeBase(ctx, c, base); err != nil {
		return nil, err
	}
	active := make([]mounted, clients*each)
	for i := range active {
		active[i].key = fmt.Sprintf("%s-%d", prefix, i)
	}
	steps := map[string]func(i int) error{
		"prepare": func(i int) (err error) {
			active[i].mounts, err = c.Prepare(ctx, active[i].key, base, keep)
			return err
		},
		"mounts": func(i int) error {
			_, err := c.Mounts(ctx, active[i].key)
			return err
		},
		"commit": func(i int) error { return c.commit(ctx, active[i].key+"-c", active[i]) },
		"view": func(i int) error {
			_, err := c.View(ctx, active[i].key+"-v", active[i].key+"-c", keep)
			return err
		},
		"remove": func(i int) error { return c.Remove(ctx, active[i].key+"-c") },
	}
	between := map[string]func(i int) error{ // not measured
		"mounts": func(i int) error { return writeFile(active[i].mounts, "file", 4096) },
		"view":   func(i int) error { return c.Remove(ctx, active[i].key+"-v") },
	}
	samples := map[string][]float64{}
	for _, op := range operations {
		if op != "commit" { // whose own data is still to be written
			unix.Sync()
		}
		times, err := each1(clients, each, steps[op])
		if err != nil {
			return nil, fmt.Errorf("%s on %s: %w", op, c.Name, err)
		}
		samples[op] = times
		if between[op] != nil {
			if _, err := each1(clients, each, between[op]); err != nil {
				return nil, fmt.Errorf("after %s on %s: %w", op, c.Name, err)
			}
		}
	}
	return samples, errors.Join(c.Remove(ctx, base), c.settle(ctx))
}

// each1 calls step for every index, by so many clients at once, and returns
// how long each call took, in milliseconds.
func each1(clients, each int, step func(i int) error) ([]float64, error) {
	times := make([]float64, clients*each)
	var group errgroup.Group
	for client := range clients {
		group.Go(func() error {
			for i := client * each; i < (client+1)*each; i++ {
				start := time.Now()
				if err := step(i); err != nil {
					return err
				}
				times[i] = milliseconds(time.Since(start))
			}
			return nil
		})
	}
	return times, group.Wait()
}

// commit is Commit with the data on disk, by whoever is to see to that.
func (c Contender) commit(ctx context.Context, name string, active mounted) error {
	if c.Sync {
		if err := syncFs(upperDir(active.mounts)); err != nil {
			return err
		}
	}
	return c.Commit(ctx, name, active.key, keep)
}

// syncFs is what containerd's applier does with sync-fs on.
func syncFs(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncfs %s: %w", dir, err)
	}
	return nil
}

// makeBase commits a parent with a hundred small files.
func makeBase(ctx context.Context, c Contender, name string) error {
	mounts, err := c.Prepare(ctx, name+"-active", "", keep)
	if err != nil {
		return fmt.Errorf("prepare a base on %s: %w", c.Name, err)
	}
	for i := range 100 {
		if err := writeFile(mounts, fmt.Sprintf("base-%d", i), 1024); err != nil {
			return err
		}
	}
	return c.Commit(ctx, name, name+"-active", keep)
}

func writeFile(mounts []mount.Mount, name string, size int) error {
	return os.WriteFile(filepath.Join(upperDir(mounts), name), make([]byte, size), 0o644)
}

// upperDir is the folder that takes an active snapshot's writes, as
// containerd's own applier finds it: no mount is needed to fill a layer.
func upperDir(mounts []mount.Mount) string {
	m := mounts[len(mounts)-1]
	for _, option := range m.Options {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			return dir
		}
	}
	return m.Source // a bind mount of a parentless snapshot
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
