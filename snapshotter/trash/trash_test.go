package trash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter/trash"
)

func open(t *testing.T, dir string, o trash.Options) *trash.Bin {
	t.Helper()
	o.Log = log.L
	b, err := trash.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// tree makes a directory with some files, links and a directory in it.
func tree(t *testing.T, path string, files int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(path, "sub"), 0o755))
	for i := range files {
		must(t, os.WriteFile(filepath.Join(path, "sub", fmt.Sprint(i)), nil, 0o000))
	}
	must(t, os.Symlink("/", filepath.Join(path, "root")))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%d entries are left in the trash, %s the first", len(left), left[0].Name())
	}
}

func TestPutFreesThePathAndWaitDeletes(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "trash")
	b := open(t, bin, trash.Options{})
	outside := filepath.Join(dir, "outside")
	tree(t, outside, 3)
	for range 5 {
		path := filepath.Join(dir, "same")
		tree(t, path, 1500)
		must(t, os.Symlink(outside, filepath.Join(path, "link")))
		must(t, b.Put(path))
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the path is still there after Put: %v", err)
		}
	}
	must(t, b.Wait(t.Context()))
	empty(t, bin)
	if left, _ := os.ReadDir(filepath.Join(outside, "sub")); len(left) != 3 {
		t.Errorf("deletion followed a symlink: %d of 3 files are left outside", len(left))
	}
	must(t, b.Put(filepath.Join(dir, "absent")))
	if waiting, failed := b.Backlog(); waiting != 0 || failed != 0 {
		t.Errorf("backlog %d, failed %d after Wait", waiting, failed)
	}
}

// TestResume: what a former process left is deleted by the next.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "trash")
	for _, name := range []string{"000000000007-12", "strange name", "file"} {
		if name == "file" {
			must(t, os.WriteFile(filepath.Join(bin, name), nil, 0o600))
			continue
		}
		tree(t, filepath.Join(bin, name), 10)
	}
	b := open(t, bin, trash.Options{})
	must(t, b.Wait(t.Context()))
	empty(t, bin)
	tree(t, filepath.Join(dir, "new"), 1)
	must(t, b.Put(filepath.Join(dir, "new")))
	must(t, b.Wait(t.Context()))
	empty(t, bin)
}

// TestDeep: a tree deeper than there are descriptors, and than any path is
// long.
func TestDeep(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "trash")
	must(t, os.Mkdir(filepath.Join(dir, "deep"), 0o755))
	fd, err := unix.Open(filepath.Join(dir, "deep"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	const depth = 3000
	for range depth {
		must(t, unix.Mkdirat(fd, "directory", 0o755))
		next, err := unix.Openat(fd, "directory", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
	b := open(t, bin, trash.Options{})
	must(t, b.Put(filepath.Join(dir, "deep")))
	must(t, b.Wait(t.Context()))
	empty(t, bin)
	if n := b.Deleted(); n < depth {
		t.Errorf("%d entries were deleted, want at least %d", n, depth)
	}
}

// TestImmutable: attributes that a container left do not keep its layer.
func TestImmutable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	tree(t, filepath.Join(dir, "a"), 3)
	for _, name := range []string{"a/sub/1", "a/sub"} {
		f, err := os.Open(filepath.Join(dir, name))
		must(t, err)
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10)
		f.Close()
		if err != nil {
			t.Skip("kernel lacks: inode attributes on this file system: " + err.Error())
		}
	}
	b := open(t, filepath.Join(dir, "trash"), trash.Options{})
	must(t, b.Put(filepath.Join(dir, "a")))
	must(t, b.Wait(t.Context()))
	empty(t, filepath.Join(dir, "trash"))
}

// TestOneFailureHoldsUpNobody: a mounted directory cannot be deleted; the
// others are, Wait says so, and later tries succeed.
func TestOneFailureHoldsUpNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "trash")
	b := open(t, bin, trash.Options{})
	tree(t, filepath.Join(dir, "busy"), 1)
	must(t, os.Mkdir(filepath.Join(dir, "busy", "point"), 0o755))
	must(t, b.Put(filepath.Join(dir, "absent")))
	// Mounted after it was moved, or the move itself would take it along.
	must(t, os.Mkdir(filepath.Join(dir, "stay"), 0o755))
	busy := filepath.Join(bin, "0-busy")
	must(t, b.Close())
	must(t, os.Rename(filepath.Join(dir, "busy"), busy))
	point := filepath.Join(busy, "point")
	must(t, unix.Mount("none", point, "tmpfs", 0, ""))
	defer func() { _ = unix.Unmount(point, unix.MNT_DETACH) }()
	tree(t, filepath.Join(dir, "free"), 10)
	b = open(t, bin, trash.Options{})
	must(t, b.Put(filepath.Join(dir, "free")))
	if err := b.Wait(t.Context()); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Wait: %v, want EBUSY", err)
	}
	if waiting, failed := b.Backlog(); waiting != 1 || failed != 1 {
		t.Errorf("backlog %d, failed %d; want the mounted one alone", waiting, failed)
	}
	must(t, unix.Unmount(point, 0))
	must(t, b.Wait(t.Context()))
	empty(t, bin)
}

func TestWaitHonoursItsContext(t *testing.T) {
	dir := t.TempDir()
	hold := make(chan struct{})
	b := open(t, filepath.Join(dir, "trash"), trash.Options{Before: func(string) any { <-hold; return nil }})
	tree(t, filepath.Join(dir, "a"), 1)
	must(t, b.Put(filepath.Join(dir, "a")))
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- b.Wait(ctx) }()
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v, want Canceled", err)
	}
	close(hold)
	must(t, b.Wait(t.Context()))
}

// TestRate: the rate bounds deletions, and is lifted when space is short.
func TestRate(t *testing.T) {
	for _, c := range []struct {
		name    string
		percent int
		slow    bool
	}{{"bounded", 0, true}, {"lifted", 100, false}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, filepath.Join(dir, "trash"), trash.Options{Rate: 1000, FreePercent: c.percent})
			tree(t, filepath.Join(dir, "a"), 600)
			must(t, b.Put(filepath.Join(dir, "a")))
			must(t, b.Wait(t.Context()))
			// 600 files at 100 in each tenth of a second.
			if got := b.Pauses(); c.slow && got < 4 || !c.slow && got > 0 {
				t.Errorf("deletion paused %d times", got)
			}
		})
	}
}

// TestHooks: After hears what Before said, once the tree is gone.
func TestHooks(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var order []string
	b := open(t, filepath.Join(dir, "trash"), trash.Options{
		Before: func(path string) any {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, "before")
			return path
		},
		After: func(note any) {
			mu.Lock()
			defer mu.Unlock()
			_, err := os.Lstat(note.(string))
			order = append(order, fmt.Sprint("after ", errors.Is(err, os.ErrNotExist)))
		},
	})
	tree(t, filepath.Join(dir, "a"), 2)
	must(t, b.Put(filepath.Join(dir, "a")))
	must(t, b.Wait(t.Context()))
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(order) != "[before after true]" {
		t.Errorf("hooks ran as %v", order)
	}
}
