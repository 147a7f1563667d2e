package overlay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// TestCountEqualsContinuity: what we count is what containerd counts.
func TestCountEqualsContinuity(t *testing.T) {
	root := t.TempDir()
	random := rand.New(rand.NewPCG(1, 1))
	dirs := []string{root}
	var files []string
	for i := range 500 {
		dir := dirs[random.IntN(len(dirs))]
		path := filepath.Join(dir, fmt.Sprint("n", i))
		var err error
		switch kind := random.IntN(6); {
		case kind == 0:
			err = os.Mkdir(path, 0o755)
			dirs = append(dirs, path)
		case kind == 1 && len(files) > 0:
			err = os.Link(files[random.IntN(len(files))], path)
		case kind == 2:
			err = os.Symlink("/nowhere", path)
		case kind == 3:
			if err = os.WriteFile(path, []byte("x"), 0o644); err == nil {
				err = os.Truncate(path, 1<<24)
			}
			files = append(files, path)
		default:
			err = os.WriteFile(path, make([]byte, random.IntN(20000)), 0o644)
			files = append(files, path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	unix.Sync() // delayed allocation changes blocks under both
	want, err := fs.DiskUsage(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := countTree(t.Context(), root)
	if err != nil || got != snapshots.Usage(want) {
		t.Errorf("counted %+v (%v), continuity counts %+v", got, err, want)
	}
}

func TestCountHonoursItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := countTree(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
	if _, err := countTree(t.Context(), filepath.Join(t.TempDir(), "no")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want NotExist", err)
	}
}

// TestCountBesideChanges: files come and go under the count.
func TestCountBesideChanges(t *testing.T) {
	root := t.TempDir()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			path := filepath.Join(root, fmt.Sprint(i%50))
			if os.Remove(path) != nil && i%2 == 0 {
				_ = os.Mkdir(path, 0o755)
			} else {
				_ = os.WriteFile(path, nil, 0o644)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for range 200 {
		if _, err := countTree(t.Context(), root); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1")
	want := snapshots.Usage{Size: 123456789012, Inodes: 42}
	if err := writeNote(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readNote(path); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, torn := range []string{"", "1", "1 2", "1 2 en", "-1 2 end", "x y end", "\x00\x00\x00"} {
		if err := os.WriteFile(path, []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readNote(path); err == nil {
			t.Errorf("the torn note %q reads as %+v", torn, got)
		}
	}
}
