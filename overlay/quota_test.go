package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/overlay"
)

// withQuota are the file systems with project quotas, and how they say no: xfs
// answers for a project what it answers when it is full, ext4 does not.
var withQuota = []struct {
	kind string
	full error
}{
	{"ext4", unix.EDQUOT},
	{"xfs", unix.ENOSPC},
}

// mkfsQuota mounts a fresh file system that can count projects, with the mount
// option given. It skips where the kernel cannot.
func mkfsQuota(t *testing.T, kind, option string) string {
	t.Helper()
	needsRoot(t)
	dir := t.TempDir()
	image, point := filepath.Join(dir, "image"), filepath.Join(dir, "point")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 512<<20), os.Mkdir(point, 0o755)); err != nil {
		t.Fatal(err)
	}
	make := map[string][]string{"ext4": {"mkfs.ext4", "-q", "-F", "-O", "quota,project"}, "xfs": {"mkfs.xfs", "-q"}}[kind]
	if out, err := exec.Command(make[0], append(make[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", make, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop,"+option, image, point).CombinedOutput(); err != nil {
		t.Skipf("kernel lacks: project quotas on %s: %s", kind, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", point).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return point
}

// detect wants quotas that are enforced, or skips: xfs mounts with prjquota on
// a kernel without it.
func detect(t *testing.T, kind, dir string) {
	t.Helper()
	able, err := overlay.Detect(dir, overlay.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if !able.MaxSize {
		t.Skip("kernel lacks: project quotas on " + kind)
	}
}

// TestQuotaConformance runs the conformance cases in which a quota plays a
// part where quotas are.
func TestQuotaConformance(t *testing.T) {
	for _, fs := range withQuota {
		t.Run(fs.kind, func(t *testing.T) {
			dir := mkfsQuota(t, fs.kind, "prjquota")
			detect(t, fs.kind, dir)
			conform(t, dir)
		})
	}
}

// quotaSubject is a snapshotter that must have quotas, with its root on dir.
func quotaSubject(t *testing.T, dir string) snapshots.Snapshotter {
	t.Helper()
	config := overlay.DefaultConfig()
	config.Quota = "require"
	s := serve(t, filepath.Join(dir, "root"), config)
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(s.conn), "varve-overlay")
}

// prepared makes a snapshot and mounts it; it returns where, and its own
// directory.
func prepared(t *testing.T, sn snapshots.Snapshotter, key, parent string, options ...snapshots.Opt) (dir, upper string) {
	t.Helper()
	mounts, err := sn.Prepare(context.Background(), key, parent, options...)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := mount.All(mounts, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mount.UnmountAll(dir, 0) })
	for _, option := range mounts[0].Options {
		if path, ok := strings.CutPrefix(option, "upperdir="); ok {
			return dir, path
		}
	}
	return dir, mounts[0].Source // a snapshot without a parent is a bind mount
}

// layer commits a small parent, so that what stands on it is an overlay.
func layer(t *testing.T, sn snapshots.Snapshotter, name string) {
	t.Helper()
	dir, _ := prepared(t, sn, name+"-active", "")
	if err := os.WriteFile(filepath.Join(dir, "below"), make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := mount.UnmountAll(dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := sn.Commit(context.Background(), name, name+"-active"); err != nil {
		t.Fatal(err)
	}
}

func sizeLabel(bytes int64) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotMaxSize: strconv.FormatInt(bytes, 10)})
}

// writeFile writes zeroes and wants them on the disk.
func writeFile(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		return err
	}
	return f.Sync()
}

// TestQuotaNeighbours: who is at the limit hears of it, and nobody else does.
func TestQuotaNeighbours(t *testing.T) {
	const mib = 1 << 20
	for _, fs := range withQuota {
		t.Run(fs.kind, func(t *testing.T) {
			dir := mkfsQuota(t, fs.kind, "prjquota")
			detect(t, fs.kind, dir)
			sn := quotaSubject(t, dir)
			layer(t, sn, "base")
			full, _ := prepared(t, sn, "full", "base", sizeLabel(16*mib))
			near, _ := prepared(t, sn, "near", "base", sizeLabel(32*mib))
			free, _ := prepared(t, sn, "free", "base")

			if err := writeFile(filepath.Join(near, "a"), 8*mib); err != nil {
				t.Fatal(err)
			}
			if err := writeFile(filepath.Join(full, "a"), 64*mib); !errors.Is(err, fs.full) {
				t.Errorf("64 MiB into 16: %v, want %v", err, fs.full)
			}
			// Copying up what is below is a write of one's own as well.
			if err := os.Chmod(filepath.Join(full, "below"), 0o640); !errors.Is(err, fs.full) {
				t.Errorf("copy-up into a full snapshot: %v, want %v", err, fs.full)
			}
			if err := writeFile(filepath.Join(near, "b"), 16*mib); err != nil {
				t.Errorf("a neighbour below its limit: %v", err)
			}
			if err := writeFile(filepath.Join(free, "a"), 64*mib); err != nil {
				t.Errorf("a neighbour without a limit: %v", err)
			}
			if err := writeFile(filepath.Join(near, "c"), 16*mib); !errors.Is(err, fs.full) {
				t.Errorf("the neighbour at its own limit: %v, want %v", err, fs.full)
			}
			if err := os.Remove(filepath.Join(full, "a")); err != nil {
				t.Fatal(err)
			}
			if err := writeFile(filepath.Join(full, "b"), 8*mib); err != nil {
				t.Errorf("after making room: %v", err)
			}
		})
	}
}

// TestQuotaUsage: what Usage says is what du counts, and it does not look at
// the files to say so.
func TestQuotaUsage(t *testing.T) {
	for _, fs := range withQuota {
		t.Run(fs.kind, func(t *testing.T) {
			dir := mkfsQuota(t, fs.kind, "prjquota")
			detect(t, fs.kind, dir)
			sn := quotaSubject(t, dir)
			layer(t, sn, "base")
			at, upper := prepared(t, sn, "a", "base")
			populate(t, at)
			syncAll(t, dir)
			usage, err := sn.Usage(context.Background(), "a")
			if err != nil {
				t.Fatal(err)
			}
			bytes, inodes := du(t, upper)
			if usage.Size != bytes || usage.Inodes != inodes {
				t.Errorf("Usage is %d bytes and %d inodes, du counts %d and %d", usage.Size, usage.Inodes, bytes, inodes)
			}

			opened := watchOpens(t, filepath.Join(upper, "d3"))
			if _, err := sn.Usage(context.Background(), "a"); err != nil {
				t.Fatal(err)
			}
			if opened() {
				t.Error("Usage opened a directory of the snapshot: it walks, and takes longer the more there is")
			}
			if _, err := os.ReadDir(filepath.Join(upper, "d3")); err != nil {
				t.Fatal(err)
			}
			if !opened() {
				t.Error("the watch does not see a directory that is opened")
			}
		})
	}
}

// populate makes what is hard to count: holes, hard links, large and small files.
func populate(t *testing.T, dir string) {
	t.Helper()
	for d := range 10 {
		sub := filepath.Join(dir, fmt.Sprint("d", d))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for f := range 20 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint("f", f)), make([]byte, f*1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Link(filepath.Join(sub, "f19"), filepath.Join(sub, "hard")); err != nil {
			t.Fatal(err)
		}
	}
	hole := filepath.Join(dir, "hole")
	if err := errors.Join(os.WriteFile(hole, []byte("head"), 0o600), os.Truncate(hole, 64<<20)); err != nil {
		t.Fatal(err)
	}
}

// syncAll makes the file system decide where what was written goes; xfs holds
// more ready for a file until then.
func syncAll(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// du asks the du program.
func du(t *testing.T, dir string) (bytes, inodes int64) {
	t.Helper()
	ask := func(option string) int64 {
		out, err := exec.Command("du", "-s", option, dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return ask("--block-size=1"), ask("--inodes")
}

// watchOpens says, at each call, whether dir was opened since the last.
func watchOpens(t *testing.T, dir string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		n, err := unix.Read(fd, make([]byte, 4096))
		return err == nil && n > 0
	}
}

// TestQuotaNotEnforced: a file system that counts and does not stop anybody is
// no ground for a promise.
func TestQuotaNotEnforced(t *testing.T) {
	for kind, option := range map[string]string{"ext4": "noquota", "xfs": "pqnoenforce"} {
		t.Run(kind, func(t *testing.T) {
			dir := mkfsQuota(t, kind, "prjquota")
			detect(t, kind, dir)
			dir = mkfsQuota(t, kind, option)
			s := serve(t, filepath.Join(dir, "root"), overlay.DefaultConfig())
			sn := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(s.conn), "varve-overlay")
			_, err := sn.Prepare(context.Background(), "a", "", sizeLabel(16<<20))
			if !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "prjquota") {
				t.Errorf("Prepare with max-size: %v, want NotImplemented and the remedy prjquota", err)
			}
			config := overlay.DefaultConfig()
			config.Quota = "require"
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			if d, err := overlay.Open(context.Background(), filepath.Join(dir, "root"), config, nil); err == nil {
				_ = d.Close()
				t.Error(`quota = "require" is content with quotas that are not enforced`)
			}
		})
	}
}
