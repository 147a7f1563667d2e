package loop_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/varve-project/varve/internal/loop"
)

func root(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

func image(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

func attach(t *testing.T, path string, o loop.Options) loop.Device {
	t.Helper()
	d, err := loop.Attach(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := loop.Find(path)
		if err != nil {
			t.Error(err)
		}
		for _, d := range left {
			if err := loop.Detach(context.Background(), d); err != nil {
				t.Error(err)
			}
		}
	})
	return d
}

func TestAttachFindDetach(t *testing.T) {
	root(t)
	path := image(t, 8<<20)
	d := attach(t, path, loop.Options{})
	if d.Size != 8<<20 || d.ReadOnly || d.Autoclear || d.Backing != path {
		t.Fatalf("attached as %+v", d)
	}
	// A second name of the same inode finds it too; another file does not.
	link := filepath.Join(t.TempDir(), "image")
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]int{path: 1, link: 1, image(t, 4096): 0} {
		found, err := loop.Find(file)
		if err != nil || len(found) != want {
			t.Fatalf("Find(%s) = %v, %v; want %d", file, found, err, want)
		}
	}
	if err := loop.Detach(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	if found, err := loop.Find(path); err != nil || len(found) != 0 {
		t.Fatalf("after Detach: %v, %v", found, err)
	}
	// The node may be somebody else's by now: a second Detach leaves it alone.
	if err := loop.Detach(context.Background(), d); err != nil && !errors.Is(err, loop.ErrBusy) {
		t.Fatalf("second Detach: %v", err)
	}
}

func TestReadOnlyRefusesWrites(t *testing.T) {
	root(t)
	d := attach(t, image(t, 1<<20), loop.Options{ReadOnly: true})
	if !d.ReadOnly {
		t.Fatalf("attached as %+v", d)
	}
	f, err := os.OpenFile(d.Path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		err = errors.Join(err, f.Sync())
		_ = f.Close()
	}
	if err == nil {
		t.Fatal("a write to a read-only device succeeded")
	}
}

// A device that a process has open must neither be reported as detached nor
// be left to vanish later.
func TestDetachOfOpenDeviceChangesNothing(t *testing.T) {
	root(t)
	path := image(t, 1<<20)
	d := attach(t, path, loop.Options{})
	f, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := loop.Detach(context.Background(), d); !errors.Is(err, loop.ErrBusy) {
		t.Fatalf("Detach of an open device: %v, want ErrBusy", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := loop.Find(path)
	if err != nil || len(found) != 1 || found[0].Autoclear {
		t.Fatalf("after the last close: %+v, %v; want the device, without autoclear", found, err)
	}
}

func TestResize(t *testing.T) {
	root(t)
	path := image(t, 1<<20)
	d := attach(t, path, loop.Options{})
	if err := os.Truncate(path, 4<<20); err != nil {
		t.Fatal(err)
	}
	if err := loop.Resize(d.Path); err != nil {
		t.Fatal(err)
	}
	found, err := loop.Find(path)
	if err != nil || len(found) != 1 || found[0].Size != 4<<20 {
		t.Fatalf("after Resize: %+v, %v", found, err)
	}
}

func TestDeletedBackingFileIsListed(t *testing.T) {
	root(t)
	path := image(t, 1<<20)
	d := attach(t, path, loop.Options{})
	t.Cleanup(func() {
		if err := loop.Detach(context.Background(), d); err != nil {
			t.Error(err)
		}
	})
	keep := path + ".keep" // so that the attach's own clean-up finds nothing
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(keep, path); err != nil {
		t.Fatal(err)
	}
	all, err := loop.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.Path == d.Path {
			if !l.Deleted || l.Backing != path {
				t.Fatalf("listed as %+v", l)
			}
			return
		}
	}
	t.Fatalf("%s is not listed", d.Path)
}
