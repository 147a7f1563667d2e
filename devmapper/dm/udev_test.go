package dm_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/varve-project/varve/devmapper/dm"
)

func udevRuns() bool {
	_, err := os.Stat("/run/udev/control")
	return err == nil
}

// settle waits until udevd has nothing more to do, where it runs.
func settle(t *testing.T) {
	t.Helper()
	if !udevRuns() {
		return
	}
	if out, err := exec.CommandContext(t.Context(), "udevadm", "settle", "--timeout=100").CombinedOutput(); err != nil {
		t.Fatalf("udevadm settle: %v\n%s", err, out)
	}
}

// Where udevd runs, its rules see an ordinary device, and leave alone one that
// is not to be scanned; the node is there both times, and stays.
func TestScan(t *testing.T) {
	for mode, opts := range map[string][]dm.Option{"scanned": nil, "not": {dm.WithoutScan()}} {
		t.Run(mode, func(t *testing.T) {
			c := open(t, opts...)
			a := name(t, c, "a")
			activate(t, c, a, dm.Target{Length: 8, Type: "zero"})
			node(t, c, a, true)
			settle(t)
			node(t, c, a, true)
			_, err := os.Stat("/dev/disk/by-id/dm-name-" + a)
			if scanned := err == nil; scanned != (udevRuns() && opts == nil) {
				t.Errorf("in /dev/disk: %t", scanned)
			}
			if err := c.Remove(a); err != nil {
				t.Fatal(err)
			}
			node(t, c, a, false)
			settle(t)
			node(t, c, a, false)
		})
	}
}

// A device that only waits for its last opener has no node left behind,
// whoever looks after the nodes.
func TestDeferredNode(t *testing.T) {
	for mode, opts := range map[string][]dm.Option{"scanned": nil, "not": {dm.WithoutScan()}} {
		t.Run(mode, func(t *testing.T) {
			c := open(t, opts...)
			a := name(t, c, "a")
			f, err := os.Open(activate(t, c, a, dm.Target{Length: 8, Type: "zero"}))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := c.RemoveDeferred(a); err != nil {
				t.Fatal(err)
			}
			node(t, c, a, udevRuns() && opts == nil)
			f.Close()
			gone(t, c, a)
		})
	}
}
