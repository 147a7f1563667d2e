package dm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/loop"
)

const sectorsPerMiB = 2048

// open opens the device-mapper of the kernel that runs.
func open(t *testing.T, opts ...dm.Option) *dm.Control {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	// The machine may be an emulated one with another's work on it.
	c, err := dm.Open(append([]dm.Option{dm.WithPatience(2 * time.Minute)}, opts...)...)
	if errdefs.IsNotImplemented(err) {
		t.Skip("kernel lacks: device-mapper")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// name is a device name that no other test has; whatever is left of it is
// removed when the test ends.
func name(t *testing.T, c *dm.Control, suffix string) string {
	t.Helper()
	name := "dmtest-" + strings.NewReplacer("/", "-").Replace(t.Name()) + "-" + suffix
	t.Cleanup(func() {
		if _, err := c.Stat(name); errdefs.IsNotFound(err) {
			return
		}
		_ = c.Suspend(name, dm.SuspendOptions{NoFlush: true, SkipLockFS: true})
		_ = c.Resume(name)
		if err := c.Remove(name); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	return name
}

// activate makes a device live.
func activate(t *testing.T, c *dm.Control, name string, targets ...dm.Target) string {
	t.Helper()
	path, err := c.Activate(name, "DMTEST-"+name, false, targets...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// disk is a loop device of so many MiB, empty.
func disk(t *testing.T, mib int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, mib<<20); err != nil {
		t.Fatal(err)
	}
	d, err := loop.Attach(t.Context(), file, loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := loop.Release(d); err != nil {
			t.Error(err)
		}
	})
	return d.Path
}

// dmsetup is the witness.
func dmsetup(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dmsetup", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("dmsetup %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// agree asserts that dmsetup says of the device what we say.
func agree(t *testing.T, c *dm.Control, name string) {
	t.Helper()
	table, err := c.Table(name)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, target := range table {
		lines = append(lines, target.String())
	}
	trim := func(s string) string {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		return strings.Join(lines, "\n")
	}
	if want := trim(dmsetup(t, "table", name)); strings.Join(lines, "\n") != want {
		t.Errorf("table of %s:\n%s\ndmsetup:\n%s", name, strings.Join(lines, "\n"), want)
	}
	info, status, err := c.Status(name, dm.StatusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lines = nil
	for _, s := range status {
		lines = append(lines, dm.Target{Start: s.Start, Length: s.Length, Type: s.Type, Params: s.Status}.String())
	}
	if want := trim(dmsetup(t, "status", name)); trim(strings.Join(lines, "\n")) != want {
		t.Errorf("status of %s:\n%s\ndmsetup:\n%s", name, strings.Join(lines, "\n"), want)
	}
	got := strings.Join([]string{info.Name, fmt.Sprint(info.Major), fmt.Sprint(info.Minor), attributes(info), fmt.Sprint(info.Open), fmt.Sprint(info.Targets), fmt.Sprint(info.Event), info.UUID}, ":")
	if want := dmsetup(t, "info", "-c", "--noheadings", name); got != want {
		t.Errorf("info %s, dmsetup %s", got, want)
	}
}

// attributes are dmsetup's: Live, Inactive, suspended, read-only or writable.
func attributes(info dm.Info) string {
	pick := func(on bool, yes, no string) string {
		if on {
			return yes
		}
		return no
	}
	return pick(info.Live, "L", "-") + pick(info.Inactive, "I", "-") + pick(info.Suspended, "s", "-") + pick(info.ReadOnly, "r", "w")
}

// listed tells whether List and dmsetup ls know the device.
func listed(t *testing.T, c *dm.Control, name string) bool {
	t.Helper()
	entries, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e dm.Entry) bool { return e.Name == name })
	theirs := false
	for _, line := range strings.Split(dmsetup(t, "ls"), "\n") {
		theirs = theirs || strings.Fields(line)[0] == name
	}
	if theirs != (i >= 0) {
		t.Errorf("%s: List %t, dmsetup ls %t", name, i >= 0, theirs)
	}
	if i < 0 {
		return false
	}
	info, err := c.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if e := entries[i]; e != (dm.Entry{Name: info.Name, UUID: info.UUID, Major: info.Major, Minor: info.Minor, Event: info.Event}) {
		t.Errorf("listed as %+v, is %+v", e, info)
	}
	return true
}

// node asserts that the device's node is there and is it, or is not there.
func node(t *testing.T, c *dm.Control, name string, want bool) {
	t.Helper()
	var st unix.Stat_t
	err := unix.Stat(c.Path(name), &st)
	if !want {
		if _, err := os.Lstat(c.Path(name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", c.Path(name), err)
		}
		return
	}
	info, statErr := c.Stat(name)
	if err != nil || statErr != nil || st.Rdev != unix.Mkdev(info.Major, info.Minor) {
		t.Errorf("%s is %d:%d, the device %d:%d (%v, %v)", c.Path(name), unix.Major(st.Rdev), unix.Minor(st.Rdev), info.Major, info.Minor, err, statErr)
	}
}
