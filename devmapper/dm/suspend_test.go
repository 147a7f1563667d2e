package dm_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
)

// mounted is an ext4 file system on a linear device of 16 MiB.
func mounted(t *testing.T, c *dm.Control) (device, dir string) {
	t.Helper()
	below := disk(t, 16)
	device = name(t, c, "fs")
	path := activate(t, c, device, dm.Target{Length: 16 * sectorsPerMiB, Type: "linear", Params: below + " 0"})
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", path).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	dir = t.TempDir()
	if err := unix.Mount(path, dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Resume(device), unix.Unmount(dir, 0)); err != nil {
			t.Error(err)
		}
	})
	return device, dir
}

// start runs f; done tells whether it has ended, waiting a little for it.
func start(f func() error) (end <-chan error) {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return ch
}

func blocked(t *testing.T, end <-chan error, what string) {
	t.Helper()
	select {
	case err := <-end:
		t.Fatalf("%s was not held: %v", what, err)
	case <-time.After(200 * time.Millisecond):
	}
}

func ends(t *testing.T, end <-chan error, what string) {
	t.Helper()
	select {
	case err := <-end:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// With the file system frozen not even a write to memory goes on, and what
// was written before is on the device.
func TestSuspendFreezes(t *testing.T) {
	c := open(t)
	device, dir := mounted(t, c)
	if err := os.WriteFile(filepath.Join(dir, "before"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Suspend(device, dm.SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	agree(t, c, device)
	end := start(func() error { return os.WriteFile(filepath.Join(dir, "during"), []byte("x"), 0o600) })
	blocked(t, end, "a write to the frozen file system")
	if err := c.Resume(device); err != nil {
		t.Fatal(err)
	}
	ends(t, end, "the write")
}

// Without the freeze, writes to memory go on, and a sync waits for Resume;
// NoFlush returns although I/O is under way.
func TestSuspendWithoutFreeze(t *testing.T) {
	for name, o := range map[string]dm.SuspendOptions{
		"skip-lockfs": {SkipLockFS: true}, "noflush": {SkipLockFS: true, NoFlush: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			device, dir := mounted(t, c)
			f, err := os.Create(filepath.Join(dir, "file"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			ends(t, start(func() error { return c.Suspend(device, o) }), "suspend")
			ends(t, start(func() error { _, err := f.WriteString("x"); return err }), "a write to memory")
			sync := start(f.Sync)
			blocked(t, sync, "a sync")
			if err := c.Resume(device); err != nil {
				t.Fatal(err)
			}
			ends(t, sync, "the sync")
		})
	}
}
