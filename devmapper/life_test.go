package devmapper_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper"
	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/devmapper/pool"
)

// mounted mounts, calls fn with the directory, and unmounts.
func mounted(t *testing.T, m []mount.Mount, fn func(dir string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm")
	must(t, err)
	defer func() { _ = os.Remove(dir) }()
	must(t, mount.All(m, dir))
	defer func() { must(t, mount.UnmountAll(dir, 0)) }()
	fn(dir)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

func holds(t *testing.T, dir, name, text string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != text {
		t.Errorf("%s holds %.40q (%v), want %q", name, got, err, text)
	}
}

func labels(kv ...string) snapshots.Opt {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return snapshots.WithLabels(m)
}

func size(bytes int64) snapshots.Opt {
	return labels(snapshots.LabelSnapshotMaxSize, fmt.Sprint(bytes))
}

// sizeOf is how large the file system at dir is, in MiB, without its own
// structures.
func sizeOf(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return int64(st.Blocks) * st.Bsize / mib
}

// eachFS runs a test on a served driver for both file systems.
func eachFS(t *testing.T, fn func(t *testing.T, s *served)) {
	needsPool(t)
	for _, fsType := range format.Types() {
		t.Run(fsType, func(t *testing.T) { fn(t, serve(t, config(fsType))) })
	}
}

// TestCommitWhileMounted: the committed snapshot is as of the Commit, whatever
// who still has it mounted goes on to write; what he has goes when he leaves.
func TestCommitWhileMounted(t *testing.T) {
	eachFS(t, func(t *testing.T, s *served) {
		ctx := t.Context()
		m, err := s.sn.Prepare(ctx, "a", "")
		must(t, err)
		mounted(t, m, func(dir string) {
			write(t, dir, "f", "before")
			must(t, s.sn.Commit(ctx, "c", "a"))
			write(t, dir, "f", "after")
			unix.Sync()
			v, err := s.sn.View(ctx, "v", "c")
			must(t, err)
			mounted(t, v, func(dir string) { holds(t, dir, "f", "before") })
			must(t, s.driver.Cleanup(ctx)) // does not wait for us
			holds(t, dir, "f", "after")
		})
		must(t, s.sn.Remove(ctx, "v"))
		must(t, s.driver.Cleanup(ctx))
		if n := held(t, s); n != 1 {
			t.Errorf("%d thin devices for one snapshot", n)
		}
		u, err := s.sn.Usage(ctx, "c")
		if err != nil || u.Inodes != 1 || u.Size < 4096 || u.Size > mib {
			t.Errorf("usage of one small file: %+v, %v", u, err)
		}
	})
}

// TestGrow: at the next writable snapshot, at an Update of a mounted one and
// of one that is not, and it stays so after a reboot.
func TestGrow(t *testing.T) {
	eachFS(t, func(t *testing.T, s *served) {
		ctx := t.Context()
		m, err := s.sn.Prepare(ctx, "a", "", size(400*mib))
		must(t, err)
		mounted(t, m, func(dir string) {
			write(t, dir, "f", "x")
			if n := sizeOf(t, dir); n < 250 || n > 400 {
				t.Errorf("a file system of 400 MiB shows %d", n)
			}
		})
		must(t, s.sn.Commit(ctx, "c", "a"))
		if _, err := s.sn.Prepare(ctx, "b", "c", size(399*mib)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("a smaller child: %v, want InvalidArgument", err)
		}
		m, err = s.sn.Prepare(ctx, "b", "c", size(800*mib))
		must(t, err)
		grow := func(bytes int64) {
			t.Helper()
			_, err := s.sn.Update(ctx, snapshots.Info{Name: "b", Labels: map[string]string{snapshots.LabelSnapshotMaxSize: fmt.Sprint(bytes)}})
			must(t, err)
		}
		small := func(when string) {
			t.Helper()
			u, err := s.sn.Usage(ctx, "b")
			// What an xfs needs for a new group is a few blocks.
			if err != nil || u.Size > mib || u.Inodes != 0 {
				t.Errorf("usage of nothing %s: %+v, %v", when, u, err)
			}
		}
		mounted(t, m, func(dir string) {
			holds(t, dir, "f", "x")
			if n := sizeOf(t, dir); n < 650 || n > 800 {
				t.Errorf("a file system of 800 MiB shows %d", n)
			}
			small("after it grew when it was prepared")
			grow(1200 * mib)
			if n := sizeOf(t, dir); n < 1000 || n > 1200 {
				t.Errorf("a file system of 1200 MiB shows %d", n)
			}
			small("after it grew mounted")
		})
		small("after an unmount")
		grow(1600 * mib)
		small("after it grew unmounted")
		reboot(t, s)
		m, err = s.sn.Mounts(ctx, "b")
		must(t, err)
		mounted(t, m, func(dir string) {
			if n := sizeOf(t, dir); n < 1400 || n > 1600 {
				t.Errorf("a file system of 1600 MiB shows %d", n)
			}
		})
	})
}

// reboot leaves the thin devices as a reboot does: none is active.
func reboot(t *testing.T, s *served) {
	t.Helper()
	list, err := s.pool.Thins(t.Context())
	must(t, err)
	for _, thin := range list {
		must(t, s.pool.Deactivate(t.Context(), thin.ID, false))
	}
}

// TestAfterReboot: every call brings back the device that it needs.
func TestAfterReboot(t *testing.T) {
	eachFS(t, func(t *testing.T, s *served) {
		ctx := t.Context()
		for _, key := range []string{"mounts", "usage", "commit", "remove"} {
			m, err := s.sn.Prepare(ctx, key, "")
			must(t, err)
			mounted(t, m, func(dir string) { write(t, dir, "f", key) })
		}
		reboot(t, s)
		m, err := s.sn.Mounts(ctx, "mounts")
		must(t, err)
		mounted(t, m, func(dir string) { holds(t, dir, "f", "mounts") })
		if u, err := s.sn.Usage(ctx, "usage"); err != nil || u.Inodes != 1 {
			t.Errorf("Usage: %+v, %v", u, err)
		}
		must(t, s.sn.Commit(ctx, "c", "commit"))
		m, err = s.sn.View(ctx, "v", "c")
		must(t, err)
		mounted(t, m, func(dir string) { holds(t, dir, "f", "commit") })
		must(t, s.sn.Remove(ctx, "remove"))
	})
}

// TestDirtyJournal: a snapshot whose file system was not unmounted in order
// has what was synced, and is counted right.
func TestDirtyJournal(t *testing.T) {
	eachFS(t, func(t *testing.T, s *served) {
		ctx := t.Context()
		m, err := s.sn.Prepare(ctx, "a", "")
		must(t, err)
		mounted(t, m, func(dir string) {
			for i := range 20 {
				write(t, dir, fmt.Sprint("f", i), "x")
			}
			d, err := os.Open(dir)
			must(t, err)
			defer d.Close()
			must(t, unix.Syncfs(int(d.Fd())))
			shutdown(t, d)
		})
		must(t, s.sn.Commit(ctx, "c", "a"))
		v, err := s.sn.View(ctx, "v", "c")
		must(t, err)
		mounted(t, v, func(dir string) { holds(t, dir, "f19", "x") })
		u, err := s.sn.Usage(ctx, "c")
		must(t, err)
		if s.fsType == "ext4" && u.Inodes != 20 { // an xfs does not say that it is dirty
			t.Errorf("usage of 20 files: %+v", u)
		}
	})
}

// shutdown makes the file system stop as a power cut would, its journal as it
// is (FS_IOC_SHUTDOWN with NOLOGFLUSH; ext4 and xfs).
func shutdown(t *testing.T, d *os.File) {
	t.Helper()
	flags := uint32(2)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), 0x8004587d, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		t.Fatal("shutdown:", errno)
	}
}

// TestFileSystemLabel: containerd's label chooses the file system of one
// snapshot, and children have their parent's.
func TestFileSystemLabel(t *testing.T) {
	needsPool(t)
	s := serve(t, config("ext4"))
	ctx := t.Context()
	m, err := s.sn.Prepare(ctx, "a", "", labels(devmapper.LabelFSType, "xfs"))
	must(t, err)
	if m[0].Type != "xfs" {
		t.Errorf("asked for xfs and got %v", m)
	}
	must(t, s.sn.Commit(ctx, "c", "a", labels(devmapper.LabelFSType, "xfs")))
	m, err = s.sn.Prepare(ctx, "b", "c")
	must(t, err)
	mounted(t, m, func(dir string) { write(t, dir, "f", "x") })
	for _, c := range []struct{ parent, fsType string }{{"", "ext2"}, {"", "btrfs"}, {"c", "ext4"}} {
		if _, err := s.sn.Prepare(ctx, "d", c.parent, labels(devmapper.LabelFSType, c.fsType)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s on %q: %v, want InvalidArgument", c.fsType, c.parent, err)
		}
	}
	_, err = s.sn.Update(ctx, snapshots.Info{Name: "b", Labels: map[string]string{devmapper.LabelFSType: "ext4"}})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("Update of the file system: %v, want InvalidArgument", err)
	}
}

// TestManyAtOnce: a hundred Prepares of one parent, in less time than one
// after another would take.
func TestManyAtOnce(t *testing.T) {
	needsPool(t)
	s := serve(t, config("ext4"))
	ctx := t.Context()
	_, err := s.sn.Prepare(ctx, "a", "")
	must(t, err)
	must(t, s.sn.Commit(ctx, "c", "a"))
	const many = 100
	errs := make([]error, many)
	var group sync.WaitGroup
	begin := time.Now()
	for i := range many {
		group.Add(1)
		go func() {
			defer group.Done()
			_, errs[i] = s.sn.Prepare(ctx, fmt.Sprint("k", i), "c")
		}()
	}
	group.Wait()
	must(t, errors.Join(errs...))
	t.Logf("%d Prepares at once took %s", many, time.Since(begin))
	if n := held(t, s); n != many+1 {
		t.Errorf("%d thin devices for %d snapshots", n, many+1)
	}
}

// TestAuditFindsBothWays: a device without a record, and a record without its
// device.
func TestAuditFindsBothWays(t *testing.T) {
	needsPool(t)
	s := serve(t, config("ext4"))
	ctx := t.Context()
	id, err := s.pool.NewID(ctx)
	must(t, err)
	must(t, s.pool.Create(ctx, id))
	found := func(fix bool) map[string]string {
		t.Helper()
		list, err := s.driver.Audit(ctx, fix)
		must(t, err)
		m := map[string]string{}
		for _, f := range list {
			m[f.ID+" "+string(f.Severity)] = f.Object
		}
		return m
	}
	if got := found(false); got["devmapper.thin.orphan warning"] != fmt.Sprint("thin ", id) {
		t.Errorf("audit finds %v", got)
	}
	if got := found(true); got["devmapper.thin.orphan info"] == "" || len(got) != 1 {
		t.Errorf("audit --fix finds %v", got)
	}
	_, err = s.sn.Prepare(ctx, "a", "")
	must(t, err)
	if got := found(true); len(got) != 0 {
		t.Errorf("audit of a healthy pool finds %v", got)
	}
	list, err := s.pool.Thins(ctx)
	must(t, err)
	last := list[len(list)-1].ID
	must(t, s.pool.Deactivate(ctx, last, false))
	must(t, s.pool.Delete(ctx, last))
	if got := found(true); got["devmapper.thin.lost error"] != "a" || len(got) != 1 {
		t.Errorf("audit without the device finds %v", got)
	}
	if _, err := s.sn.Mounts(ctx, "a"); !errdefs.IsNotFound(err) {
		t.Errorf("Mounts without the device: %v, want NotFound", err)
	}
	must(t, s.sn.Remove(ctx, "a"))
	must(t, s.driver.Cleanup(ctx))
}

// TestRestart: what was prepared, committed and removed is so after a start,
// on a directory that knows nothing; an orphan is deleted, a lost template
// made anew, a removal ended.
func TestRestart(t *testing.T) {
	needsPool(t)
	s := serve(t, config("ext4"))
	ctx := t.Context()
	m, err := s.sn.Prepare(ctx, "a", "")
	must(t, err)
	mounted(t, m, func(dir string) { write(t, dir, "f", "x") })
	must(t, s.sn.Commit(ctx, "c", "a"))
	_, err = s.sn.Prepare(ctx, "gone", "c")
	must(t, err)
	before := held(t, s)
	id, err := s.pool.NewID(ctx)
	must(t, err)
	must(t, s.pool.Create(ctx, id))
	_, err = s.pool.Activate(ctx, id, pool.Activation{Bytes: mib})
	must(t, err)
	list, err := s.pool.Thins(ctx)
	must(t, err)
	must(t, s.pool.Delete(ctx, list[0].ID)) // the template, made first
	must(t, s.sn.Remove(ctx, "gone"))
	must(t, s.again(t))
	must(t, s.driver.Cleanup(ctx))
	if n := held(t, s); n != before-1 {
		t.Errorf("%d thin devices after a start, want %d", n, before-1)
	}
	if _, err := s.sn.Stat(ctx, "gone"); !errdefs.IsNotFound(err) {
		t.Errorf("what was removed: %v", err)
	}
	m, err = s.sn.Prepare(ctx, "b", "c")
	must(t, err)
	mounted(t, m, func(dir string) { holds(t, dir, "f", "x") })
	m, err = s.sn.Prepare(ctx, "n", "")
	must(t, err)
	mounted(t, m, func(dir string) { write(t, dir, "g", "y") })
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.sn.Prepare(ended, "late", "c"); !errdefs.IsCanceled(err) {
		t.Errorf("Prepare after its end: %v", err)
	}
}
