package dm_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
)

// A device's life, step by step, seen by dmsetup after each.
func TestLife(t *testing.T) {
	c := open(t)
	a, b := name(t, c, "a"), name(t, c, "b")
	info, err := c.Create(a, "DMTEST-life", dm.CreateOptions{})
	if err != nil || info.Name != a || info.UUID != "DMTEST-life" || info.Live || info.Inactive {
		t.Fatalf("%+v, %v", info, err)
	}
	agree(t, c, a)
	two := []dm.Target{{Length: 16, Type: "zero"}, {Start: 16, Length: 8, Type: "error"}}
	if err := c.Load(a, false, two...); err != nil {
		t.Fatal(err)
	}
	agree(t, c, a)
	if table, err := c.Table(a); err != nil || len(table) != 0 {
		t.Errorf("live: %v, %v", table, err)
	}
	if table, err := c.InactiveTable(a); err != nil || len(table) != 2 || table[0] != two[0] || table[1] != two[1] {
		t.Errorf("loaded: %v, %v", table, err)
	}
	if err := c.Clear(a); err != nil {
		t.Fatal(err)
	}
	if table, err := c.InactiveTable(a); err != nil || len(table) != 0 {
		t.Errorf("cleared: %v, %v", table, err)
	}
	if err := errors.Join(c.Load(a, false, two...), c.Resume(a), c.Resume(a)); err != nil {
		t.Fatal(err)
	}
	agree(t, c, a)
	node(t, c, a, true)
	if err := errors.Join(c.Suspend(a, dm.SuspendOptions{}), c.Suspend(a, dm.SuspendOptions{})); err != nil {
		t.Fatal(err)
	}
	agree(t, c, a)
	if info, err := c.Stat(a); err != nil || !info.Suspended {
		t.Errorf("%+v, %v", info, err)
	}
	if err := errors.Join(c.Resume(a), c.Rename(a, b)); err != nil {
		t.Fatal(err)
	}
	node(t, c, a, false)
	node(t, c, b, true)
	agree(t, c, b)
	if listed(t, c, a) || !listed(t, c, b) {
		t.Error("the list has the old name")
	}
	if err := c.Remove(b); err != nil {
		t.Fatal(err)
	}
	node(t, c, b, false)
	if listed(t, c, b) {
		t.Error("removed, and still listed")
	}
}

// What is not there, and what is there twice.
func TestNotFoundAndTwice(t *testing.T) {
	c := open(t)
	missing := "dmtest-none"
	_, stat := c.Stat(missing)
	_, table := c.Table(missing)
	_, _, status := c.Status(missing, dm.StatusOptions{})
	_, deps := c.Deps(missing)
	_, message := c.Message(missing, 0, "x")
	for what, err := range map[string]error{
		"stat": stat, "table": table, "status": status, "deps": deps, "message": message,
		"load": c.Load(missing, false, dm.Target{Length: 8, Type: "zero"}), "clear": c.Clear(missing),
		"resume": c.Resume(missing), "suspend": c.Suspend(missing, dm.SuspendOptions{}),
		"remove": c.Remove(missing), "deferred": c.RemoveDeferred(missing), "cancel": c.CancelDeferred(missing),
		"rename": c.Rename(missing, "dmtest-other"),
	} {
		if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: %v", what, err)
		}
	}
	a, b := name(t, c, "a"), name(t, c, "b")
	activate(t, c, a, dm.Target{Length: 8, Type: "zero"})
	if _, err := c.Activate(a, "", false, dm.Target{Length: 8, Type: "error"}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("the name twice: %v", err)
	}
	if _, err := c.Create(b, "DMTEST-"+a, dm.CreateOptions{}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("the uuid twice: %v", err)
	}
	if table, err := c.Table(a); err != nil || len(table) != 1 || table[0].Type != "zero" {
		t.Errorf("the first is now %v, %v", table, err)
	}
	activate(t, c, b, dm.Target{Length: 8, Type: "zero"})
	if err := c.Rename(a, b); !errdefs.IsAlreadyExists(err) {
		t.Errorf("renamed to one that is there: %v", err)
	}
	node(t, c, a, true)
	node(t, c, b, true)
}

// A minor number as asked, and one that is taken.
func TestMinor(t *testing.T) {
	c := open(t)
	a, b := name(t, c, "a"), name(t, c, "b")
	info, err := c.Create(a, "", dm.CreateOptions{Minor: 70000}) // beyond the 8 bits of old dev numbers
	if err != nil || info.Minor != 70000 {
		t.Fatalf("%+v, %v", info, err)
	}
	agree(t, c, a)
	if !listed(t, c, a) {
		t.Error("not listed")
	}
	if _, err := c.Create(b, "", dm.CreateOptions{Minor: 70000}); !errdefs.IsAlreadyExists(err) || !strings.Contains(err.Error(), "minor 70000") {
		t.Error(err)
	}
}

// A table that the kernel refuses: the error has what its log says, and
// nothing is left.
func TestRefusedTable(t *testing.T) {
	c := open(t)
	a := name(t, c, "a")
	for _, test := range []struct {
		target dm.Target
		says   string
	}{
		{dm.Target{Length: 8, Type: "linear", Params: "/dev/none 0"}, "linear: Device lookup failed"},
		{dm.Target{Length: 8, Type: "linear", Params: "x"}, "linear: Invalid argument count"},
		{dm.Target{Length: 8, Type: "nonesuch"}, "nonesuch: unknown target type"},
	} {
		_, err := c.Activate(a, "", false, test.target)
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), a) {
			t.Errorf("%s: %v: does not say %q", test.target, err, test.says)
		}
		if _, err := c.Stat(a); !errdefs.IsNotFound(err) {
			t.Errorf("left behind: %v", err)
		}
		node(t, c, a, false)
	}
}

// A read-only device refuses writes until a writable table is loaded.
func TestReadOnly(t *testing.T) {
	c := open(t)
	a := name(t, c, "a")
	zero := dm.Target{Length: 8, Type: "zero"}
	path, err := c.Activate(a, "", true, zero)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := c.Stat(a); err != nil || !info.ReadOnly {
		t.Errorf("%+v, %v", info, err)
	}
	agree(t, c, a)
	write := func() error { return os.WriteFile(path, make([]byte, 4096), 0) }
	if err := write(); !errors.Is(err, unix.EPERM) {
		t.Errorf("written: %v", err)
	}
	if err := errors.Join(c.Load(a, false, zero), c.Resume(a)); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Stat(a); err != nil || info.ReadOnly {
		t.Errorf("%+v, %v", info, err)
	}
	if err := write(); err != nil {
		t.Error(err)
	}
}

// The types that the kernel has, and one that it has not.
func TestTargets(t *testing.T) {
	c := open(t)
	for _, kind := range []string{"linear", "thin-pool", "thin"} {
		if v, err := c.TargetVersion(kind); err != nil || v.Major == 0 {
			t.Errorf("%s: %v, %v", kind, v, err)
		}
	}
	if _, err := c.TargetVersion("nonesuch"); !errdefs.IsNotImplemented(err) {
		t.Error(err)
	}
	types, err := c.Targets()
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]bool{}
	for _, line := range strings.Split(dmsetup(t, "targets"), "\n") {
		theirs[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, kind := range types {
		if !theirs[kind.Name+" v"+kind.Version.String()] {
			t.Errorf("%+v is none of dmsetup's %v", kind, theirs)
		}
	}
	if len(types) != len(theirs) {
		t.Errorf("%d types, dmsetup has %d", len(types), len(theirs))
	}
}
