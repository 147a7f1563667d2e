package dm_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
)

// Nodes that a killed process left wrong: missing, of another device, of
// none. Those of other prefixes stay as they are.
func TestRepairNodes(t *testing.T) {
	c := open(t, dm.WithoutScan())
	missing, wrong, fine, foreign := name(t, c, "a-missing"), name(t, c, "a-wrong"), name(t, c, "a-fine"), name(t, c, "b")
	tableless := name(t, c, "a-tableless")
	zero := dm.Target{Length: 8, Type: "zero"}
	for _, n := range []string{missing, wrong, fine, foreign} {
		activate(t, c, n, zero)
	}
	if _, err := c.Create(tableless, "", dm.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stale := c.Path(name(t, c, "a-stale"))
	info, err := c.Stat(fine)
	if err != nil {
		t.Fatal(err)
	}
	other := unix.Mkdev(info.Major, info.Minor)
	if err := errors.Join(
		os.Remove(c.Path(missing)), os.Remove(c.Path(foreign)), os.Remove(c.Path(wrong)),
		unix.Mknod(c.Path(wrong), unix.S_IFBLK|0o600, int(other)), // not the link that we make
		unix.Mknod(stale, unix.S_IFBLK|0o600, int(other)),
	); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.RepairNodes("dmtest-TestRepairNodes-a-"); err != nil {
			t.Fatal(err)
		}
		for n, want := range map[string]bool{missing: true, wrong: true, fine: true, foreign: false, tableless: false} {
			node(t, c, n, want)
		}
		if _, err := os.Lstat(stale); !os.IsNotExist(err) {
			t.Errorf("the node of no device: %v", err)
		}
	}
}

// Where /dev has no dm-N, the node is a block node of its own.
func TestNodeWithoutDevtmpfs(t *testing.T) {
	c := open(t, dm.WithoutUdev())
	a := name(t, c, "a")
	if _, err := c.Create(a, "", dm.CreateOptions{Minor: 4242}); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(a, false, dm.Target{Length: 8, Type: "zero"}); err != nil {
		t.Fatal(err)
	}
	// Before Linux 5.15 the kernel makes it at Create, since then at Load.
	if err := errors.Join(os.Remove("/dev/dm-4242"), c.Resume(a)); err != nil {
		t.Fatal(err)
	}
	node(t, c, a, true)
	if st, err := os.Lstat(c.Path(a)); err != nil || st.Mode()&os.ModeDevice == 0 {
		t.Errorf("%v, %v", st, err)
	}
}
