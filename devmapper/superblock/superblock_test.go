package superblock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/superblock"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

const mib = 1 << 20

// image makes a file system of 512 MiB in a sparse file.
func image(t testing.TB, command ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, 512*mib))
	if out, err := exec.Command(command[0], append(command[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) superblock.Super {
	t.Helper()
	s, err := superblock.Read(path)
	must(t, err)
	return s
}

var kinds = map[string][]string{
	mount.Ext4: {"mkfs.ext4", "-q", "-F", "-m", "0"},
	mount.XFS:  {"mkfs.xfs", "-q"},
}

// TestAgreesWithTheKernel: what is written shows in the superblock after the
// unmount, as much as statfs said while it was mounted.
func TestAgreesWithTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for kind, mkfs := range kinds {
		t.Run(kind, func(t *testing.T) {
			path := image(t, mkfs...)
			first := read(t, path)
			if first.FSType != kind || first.Size != 512*mib || first.Dirty || first.Used() <= 0 {
				t.Fatalf("a new file system: %+v", first)
			}
			device := attach(t, path)
			before, after := fill(t, device, kind)
			last := read(t, device)
			if last.Dirty {
				t.Error("dirty after an unmount")
			}
			if grown := last.Inodes - first.Inodes; grown != 21 {
				t.Errorf("%d inodes more, want 21", grown)
			}
			// The two counts differ by what a mounted xfs holds back, which
			// stays the same.
			mounted := (int64(before.Bfree) - int64(after.Bfree)) * before.Bsize
			if grown := last.Used() - first.Used(); grown < 20*mib || grown > 22*mib || abs(grown-mounted) > 256<<10 {
				t.Errorf("superblock grew by %d bytes, statfs by %d, written were %d", grown, mounted, 20*mib)
			}
		})
	}
}

func abs(n int64) int64 { return max(n, -n) }

func attach(t *testing.T, path string) string {
	t.Helper()
	d, err := loop.Attach(t.Context(), path, loop.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, loop.Detach(context.Background(), d)) })
	return d.Path
}

// fill writes 20 files of a MiB and a directory.
func fill(t *testing.T, device, kind string) (before, after unix.Statfs_t) {
	t.Helper()
	tree, err := mount.Detached(device, kind, false)
	must(t, err)
	defer func() { must(t, tree.Close()) }()
	before, err = tree.Statfs()
	must(t, err)
	dir := filepath.Join(tree.Path(), "d")
	must(t, os.Mkdir(dir, 0o755))
	for i := range 20 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		must(t, err)
		_, err = f.Write(make([]byte, mib))
		must(t, errors.Join(err, f.Sync(), f.Close()))
	}
	after, err = tree.Statfs()
	must(t, err)
	return before, after
}

// TestRefuses: what is no superblock, is cut short, or contradicts itself.
func TestRefuses(t *testing.T) {
	if _, err := superblock.Parse(make([]byte, superblock.Head)); !errors.Is(err, superblock.ErrNone) {
		t.Errorf("zeros: %v", err)
	}
	if _, err := superblock.Parse([]byte("XFSB")); !errors.Is(err, superblock.ErrNone) {
		t.Errorf("four bytes: %v", err)
	}
	if _, err := superblock.Read(filepath.Join(t.TempDir(), "no")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	short := filepath.Join(t.TempDir(), "short")
	must(t, os.WriteFile(short, []byte("short"), 0o600))
	if _, err := superblock.Read(short); !errors.Is(err, superblock.ErrNone) {
		t.Errorf("a short file: %v", err)
	}
	for kind, mkfs := range kinds {
		head := head(t, image(t, mkfs...))
		// A flipped bit anywhere in the checked part is noticed.
		for _, at := range []int{1024 + 0x5, 1024 + 0xc, 1024 + 0x3fc, 8, 130, 150, 225} {
			if (kind == mount.Ext4) != (at >= 1024) {
				continue
			}
			head[at] ^= 0x10
			if _, err := superblock.Parse(head); !errors.Is(err, superblock.ErrDamaged) {
				t.Errorf("%s with a flipped bit at %#x: %v, want ErrDamaged", kind, at, err)
			}
			head[at] ^= 0x10
		}
		if _, err := superblock.Parse(head); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func head(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	head := make([]byte, superblock.Head)
	_, err = f.ReadAt(head, 0)
	must(t, err)
	return head
}

// FuzzParse: whatever the bytes, the numbers that come out can be.
func FuzzParse(f *testing.F) {
	for _, mkfs := range [][]string{
		kinds[mount.XFS], kinds[mount.Ext4],
		{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^64bit"},
		{"mkfs.xfs", "-q", "-m", "crc=0", "-f"},
	} {
		f.Add(head(f, image(f, mkfs...)))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		s, err := superblock.Parse(head)
		if err != nil {
			if s != (superblock.Super{}) {
				t.Fatalf("%+v with %v", s, err)
			}
			return
		}
		if s.Size <= 0 || s.Free < 0 || s.Free > s.Size || s.Inodes < 0 || s.FSType == "" {
			t.Fatalf("%+v", s)
		}
	})
}
