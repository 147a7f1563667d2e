package thinmeta_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
	"github.com/varve-project/varve/internal/loop"
)

// The page cache of a block device may hold what was there before somebody
// wrote beneath it. Here that is a write to the file under a loop device; of
// a pool it is the kernel's own writing.
func TestStaleCache(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	p := &pool{}
	p.BlockSize, p.Blocks, p.Transaction = 128, 100, 1
	path := restore(t, p.xml(), 1<<20)
	d, err := loop.Attach(context.Background(), path, loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := loop.Detach(context.Background(), d); err != nil {
			t.Error(err)
		}
	})
	// An open device keeps its cache.
	cached, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer cached.Close()
	transactions := func() (direct, stale uint64) {
		t.Helper()
		m, err := thinmeta.Open(cached)
		if err != nil {
			t.Fatal(err)
		}
		return open(t, d.Path).Superblock().TransactionID, m.Superblock().TransactionID
	}
	if direct, stale := transactions(); direct != 1 || stale != 1 {
		t.Fatalf("transaction id %d and through the cache %d, want 1", direct, stale)
	}
	p.Transaction = 2
	replace(t, path, restore(t, p.xml(), 1<<20))
	direct, stale := transactions()
	if direct != 2 {
		t.Errorf("transaction id %d, want 2", direct)
	}
	if stale != 1 {
		t.Errorf("through the cache %d: the test shows nothing if the cache is not stale", stale)
	}
}

// replace writes the content of one file over another's, in place.
func replace(t *testing.T, path, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDeviceRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		dir:                        "",
		fifo:                       "neither a block device nor a regular file",
		"/dev/null":                "",
	} {
		r, err := thinmeta.OpenDevice(path)
		if err == nil {
			t.Errorf("%s was opened", path)
			_ = r.Close()
			continue
		}
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s and %q", err, path, want)
		}
	}
}

func TestReaderTakesWholeBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 2*blockSize+100), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := thinmeta.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if n, err := r.ReadAt(make([]byte, 2*blockSize), 0); n != 2*blockSize || err != nil {
		t.Errorf("two blocks: %d, %v", n, err)
	}
	if n, err := r.ReadAt(make([]byte, blockSize), 2*blockSize); n != 100 || err == nil {
		t.Errorf("the last bytes: %d, %v", n, err)
	}
	for _, c := range []struct{ size, offset int64 }{{100, 0}, {blockSize, 1}, {blockSize, -blockSize}} {
		if _, err := r.ReadAt(make([]byte, c.size), c.offset); err == nil || !strings.Contains(err.Error(), "not whole blocks") {
			t.Errorf("%d bytes at %d: %v", c.size, c.offset, err)
		}
	}
}

// A regular file on a file system without O_DIRECT is read all the same.
func TestRamfs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	p := randomPoolSmall()
	data, err := os.ReadFile(restore(t, p.xml(), 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	checkPoolAndClose(t, path, p)
}

func checkPoolAndClose(t *testing.T, path string, p *pool) {
	t.Helper()
	r, err := thinmeta.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := thinmeta.Open(r)
	if err != nil {
		t.Fatal(errors.Join(err, r.Close()))
	}
	checkPool(t, m, p)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
