package doctor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/runtime/config"
)

// cgroupMounts lists the hierarchies; the node's mounts are its own, so they
// may be taken away.
func cgroupMounts(t *testing.T) []*mountinfo.Info {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil || len(mounts) == 0 {
		t.Fatalf("no cgroup hierarchy: %v", err)
	}
	return mounts
}

func TestCgroupReadOnly(t *testing.T) {
	c := suite(t)
	at := cgroupMounts(t)[0].Mountpoint
	mustRun(t, "mount -o remount,bind,ro "+at)
	mend(t, c, want(t, c, "node.cgroup.read-only", at))
}

// With cgroup v2 there is one hierarchy, and what it offers is the machine's.
func TestControllerMissing(t *testing.T) {
	c := suite(t)
	absent(t, c, "node.cgroup.controller-missing", "pids")
	for _, m := range cgroupMounts(t) {
		if m.FSType != "cgroup" || !slices.Contains(strings.Split(m.VFSOptions, ","), "pids") {
			continue
		}
		mustRun(t, "umount -l "+m.Mountpoint)
		want(t, c, "node.cgroup.controller-missing", "pids")
		mustRun(t, fmt.Sprintf("mount -t cgroup -o %s cgroup %s", m.VFSOptions, m.Mountpoint))
		return
	}
	seen.Store("node.cgroup.controller-missing", true)
	t.Skip("kernel lacks: a cgroup v1 hierarchy of the pids controller")
}

func TestCgroupMissing(t *testing.T) {
	c := suite(t)
	mounts := cgroupMounts(t)
	for _, m := range mounts {
		mustRun(t, "umount -l "+m.Mountpoint)
	}
	mend(t, c, want(t, c, "node.cgroup.missing", ""))
	mustRun(t, "umount -l /sys/fs/cgroup")
	for _, m := range mounts {
		mustRun(t, fmt.Sprintf("mount -t %s -o %s cgroup %s", m.FSType, m.VFSOptions, m.Mountpoint))
	}
}

// onTmpfs is a suite whose Root is a tmpfs with the given options.
func onTmpfs(t *testing.T, options string) config.Config {
	t.Helper()
	c := suite(t)
	mustRun(t, fmt.Sprintf("mount -t tmpfs -o %s tmpfs %s", options, c.Root))
	t.Cleanup(func() { _ = unix.Unmount(c.Root, unix.MNT_DETACH) })
	return c
}

func TestDisk(t *testing.T) {
	c := onTmpfs(t, "size=10m,nr_inodes=1000")
	want(t, c, "node.root.volatile", c.Root)
	absent(t, c, "node.disk.low", c.Root)

	ballast := filepath.Join(c.Root, "ballast")
	fill := func(percent int) {
		t.Helper()
		if err := os.WriteFile(ballast, make([]byte, percent*10<<20/100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fill(93)
	if f := want(t, c, "node.disk.low", c.Root); !strings.Contains(f.Text, "space") {
		t.Error(f.Text)
	}
	fill(100)
	want(t, c, "node.disk.full", c.Root)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for i := range 960 {
		if err := os.WriteFile(fmt.Sprint(ballast, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if f := want(t, c, "node.disk.low", c.Root); !strings.Contains(f.Text, "inodes") {
		t.Error(f.Text)
	}
}

func TestDiskReadOnly(t *testing.T) {
	c := onTmpfs(t, "size=10m")
	mustRun(t, "mount -o remount,ro "+c.Root)
	mend(t, c, want(t, c, "node.disk.read-only", c.Root))
}

func TestClock(t *testing.T) {
	c := suite(t)
	absent(t, c, "node.clock.behind", "")
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(c.RuntimeRoot(), future, future); err != nil {
		t.Fatal(err)
	}
	want(t, c, "node.clock.behind", c.RuntimeRoot())
}

// Nobody but the kernel's own clock discipline may set this flag on a machine
// that others use, so the test asks for agreement with it.
func TestClockUnsynchronised(t *testing.T) {
	c := suite(t)
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		t.Fatal(err)
	}
	seen.Store("node.clock.unsynchronised", true)
	if tx.Status&unix.STA_UNSYNC == 0 {
		absent(t, c, "node.clock.unsynchronised", "")
		return
	}
	want(t, c, "node.clock.unsynchronised", "")
}

func TestOCIRuntime(t *testing.T) {
	c := suite(t)
	dir := t.TempDir()
	c.OCIRuntime = filepath.Join(dir, "runtime")
	want(t, c, "oci.runtime.missing", c.OCIRuntime)
	for _, script := range []string{"exit 1", "echo hello", "kill -SEGV $$"} {
		if err := os.WriteFile(c.OCIRuntime, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		want(t, c, "oci.runtime.broken", c.OCIRuntime)
	}
	if err := os.WriteFile(c.OCIRuntime, []byte("#!/bin/sh\necho runtime version 1.2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	absent(t, c, "oci.runtime.broken", "")
	absent(t, c, "oci.runtime.missing", "")
}
