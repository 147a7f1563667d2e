package devmapper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What is counted, and as what.
var traced = map[string]string{
	"execve": "programs", "execveat": "programs",
	"fsync": "syncs", "fdatasync": "syncs", "syncfs": "syncs", "sync": "syncs",
	"ioctl": "ioctls",
}

// kinds in the order of the rows.
var kinds = []string{"programs", "syncs", "ioctls"}

// tracer counts system calls of the whole machine, in which nothing else runs,
// as the kernel sees them.
type tracer struct{ dir string }

func newTracer(dir string) (tracer, error) {
	t := tracer{dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return t, err
	}
	if err := unix.Mount("tracefs", dir, "tracefs", 0, ""); err != nil {
		return t, fmt.Errorf("mount tracefs: %w", err)
	}
	err := t.set("tracing_on", "0")
	for call := range traced {
		err = errors.Join(err, t.set("events/syscalls/sys_enter_"+call+"/enable", "1"))
	}
	return t, err
}

func (t tracer) set(file, value string) error {
	return os.WriteFile(filepath.Join(t.dir, file), []byte(value), 0)
}

func (t tracer) count(call func() error) (map[string]float64, error) {
	if err := errors.Join(t.set("trace", ""), t.set("tracing_on", "1")); err != nil {
		return nil, err
	}
	err := errors.Join(call(), t.set("tracing_on", "0"))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	counts := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		for name, kind := range traced {
			if strings.Contains(lines.Text(), "sys_"+name+"(") {
				counts[kind]++
			}
		}
	}
	return counts, err
}

// counted lists the calls of which the costs are counted.
var counted = []string{"prepare", "mounts", "commit", "view", "remove and cleanup"}

// counts counts what each call asks of the kernel, once.
func (b *bench) counts(ctx context.Context, c Contender, key string) (map[string]float64, error) {
	name := key + "-count"
	steps := map[string]func() error{
		"prepare":            func() error { _, err := c.Prepare(ctx, name, base); return err },
		"mounts":             func() error { _, err := c.Mounts(ctx, name); return err },
		"commit":             func() error { return c.Commit(ctx, name+"-c", name) },
		"view":               func() error { _, err := c.View(ctx, name+"-v", base); return err },
		"remove and cleanup": func() error { return errors.Join(c.Remove(ctx, name+"-c"), c.cleanup(ctx)) },
	}
	figures := map[string]float64{}
	for _, op := range counted {
		got, err := b.tracer.count(steps[op])
		if err != nil {
			return nil, fmt.Errorf("%s on %s: %w", op, c.Name, err)
		}
		for _, kind := range kinds {
			figures[op+", "+kind] = got[kind]
		}
		if op != "mounts" {
			continue
		}
		mounts, err := c.Mounts(ctx, name)
		if err == nil {
			err = fill(mounts, 1, 64<<10)
		}
		if err != nil {
			return nil, err
		}
	}
	return figures, errors.Join(c.Remove(ctx, name+"-v"), c.cleanup(ctx))
}
