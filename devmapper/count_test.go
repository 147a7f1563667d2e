package devmapper_test

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// traced are the system calls that are counted.
var traced = []string{"execve", "execveat", "fsync", "fdatasync", "syncfs", "sync", "ioctl"}

// tracer counts what this process asks of the kernel, as the kernel itself
// sees it (tracefs), and not as our code believes.
type tracer struct{ dir string }

func newTracer(t *testing.T) *tracer {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tracefs", dir, "tracefs", 0, ""); err != nil {
		t.Skip("kernel lacks: tracefs: " + err.Error())
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	tr := &tracer{dir}
	if _, err := os.Stat(filepath.Join(dir, "events/syscalls/sys_enter_ioctl")); err != nil {
		t.Skip("kernel lacks: CONFIG_FTRACE_SYSCALLS")
	}
	tr.set(t, "tracing_on", "0")
	for _, call := range traced {
		tr.set(t, "events/syscalls/sys_enter_"+call+"/enable", "1")
		t.Cleanup(func() { tr.set(t, "events/syscalls/sys_enter_"+call+"/enable", "0") })
	}
	return tr
}

func (tr *tracer) set(t *testing.T, file, value string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(tr.dir, file), []byte(value), 0))
}

// count runs fn and returns how often each call was made, by this process and
// what it starts. Nothing else runs in the virtual machine that syncs.
func (tr *tracer) count(t *testing.T, fn func()) map[string]int {
	t.Helper()
	tr.set(t, "trace", "")
	tr.set(t, "tracing_on", "1")
	fn()
	tr.set(t, "tracing_on", "0")
	text, err := os.ReadFile(filepath.Join(tr.dir, "trace"))
	must(t, err)
	counts := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		for _, call := range traced {
			if strings.Contains(lines.Text(), "sys_"+call+"(") {
				counts[call]++
			}
		}
	}
	return counts
}

// TestCounts: no call but the first with a new template starts a program; each
// writes the records once (a bbolt commit: two fdatasyncs), Commit flushes the
// device once besides, and the ioctls are those of these steps:
//
//	Prepare, View: suspend the origin (not there: inactive), create_snap, look
//	whether the pool committed, create, load, resume
//	Commit: status, remove
//	Mounts: create (there already), status
//	Remove: status; behind it remove, delete and its look, and what the discard
//	takes
func TestCounts(t *testing.T) {
	needsPool(t)
	s := serve(t, config("ext4"))
	tr := newTracer(t)
	ctx := t.Context()
	_, err := s.driver.Prepare(ctx, "template", "")
	must(t, err)
	dir := t.TempDir()
	layer := func(key, parent string) {
		m, err := s.driver.Prepare(ctx, key, parent)
		must(t, err)
		must(t, mount.All(m, dir))
		must(t, os.WriteFile(filepath.Join(dir, key), []byte("x"), 0o644))
		must(t, mount.UnmountAll(dir, 0))
	}
	layer("a", "")
	for _, c := range []struct {
		name          string
		syncs, ioctls int
		do            func() error
	}{
		{"Prepare without parent", 2, 6, func() error { _, err := s.driver.Prepare(ctx, "b", ""); return err }},
		{"Commit", 3, 2, func() error { return s.driver.Commit(ctx, "ac", "a") }},
		{"Prepare of a child", 2, 6, func() error { _, err := s.driver.Prepare(ctx, "c", "ac"); return err }},
		{"View", 2, 6, func() error { _, err := s.driver.View(ctx, "v", "ac"); return err }},
		{"Mounts", 0, 2, func() error { _, err := s.driver.Mounts(ctx, "c"); return err }},
		{"Usage", 0, 1, func() error { _, err := s.driver.Usage(ctx, "c"); return err }},
		{"Stat", 0, 0, func() error { _, err := s.driver.Stat(ctx, "c"); return err }},
		// The record, and behind it the end of the trash's journal.
		{"Remove and Cleanup", 4, 12, func() error {
			if err := s.driver.Remove(ctx, "c"); err != nil {
				return err
			}
			return s.driver.Cleanup(ctx)
		}},
	} {
		var err error
		got := tr.count(t, func() { err = c.do() })
		must(t, err)
		syncs := got["fsync"] + got["fdatasync"] + got["syncfs"] + got["sync"]
		if got["execve"]+got["execveat"] > 0 {
			t.Errorf("%s starts %d programs", c.name, got["execve"]+got["execveat"])
		}
		if syncs != c.syncs || got["ioctl"] != c.ioctls {
			t.Errorf("%s: %d syncs and %d ioctls, want %d and %d", c.name, syncs, got["ioctl"], c.syncs, c.ioctls)
		}
	}
}
