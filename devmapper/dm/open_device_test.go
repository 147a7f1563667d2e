package dm_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
)

// A device that is open stays, and the error says how often and by whom.
func TestRemoveOpen(t *testing.T) {
	c := open(t)
	below, above := name(t, c, "below"), name(t, c, "above")
	path := activate(t, c, below, dm.Target{Length: 16, Type: "zero"})
	activate(t, c, above, dm.Target{Length: 16, Type: "linear", Params: path + " 0"})
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = c.Remove(below)
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "open 2 times, by "+above+" (dm-") {
		t.Error(err)
	}
	node(t, c, below, true)
	f.Close()
	if err := c.Remove(above); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(below); err != nil {
		t.Fatal(err)
	}
}

// A deferred removal waits for the last opener, can be taken back, and of a
// device that nobody has open is an ordinary one.
func TestDeferred(t *testing.T) {
	c := open(t)
	a := name(t, c, "a")
	path := activate(t, c, a, dm.Target{Length: 16, Type: "zero"})
	if err := c.CancelDeferred(a); err != nil {
		t.Errorf("nothing to take back: %v", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	deferred := func(want bool) {
		t.Helper()
		if info, err := c.Stat(a); err != nil || info.DeferredRemove != want || info.Open != 1 {
			t.Errorf("%+v, %v; want deferred %t", info, err, want)
		}
	}
	for range 2 { // twice is as good as once
		if err := c.RemoveDeferred(a); err != nil {
			t.Fatal(err)
		}
		deferred(true)
	}
	if _, err := f.ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("does not work any more: %v", err)
	}
	if err := c.CancelDeferred(a); err != nil {
		t.Fatal(err)
	}
	deferred(false)
	node(t, c, a, true)
	if err := c.RemoveDeferred(a); err != nil {
		t.Fatal(err)
	}
	f.Close()
	gone(t, c, a)
	activate(t, c, a, dm.Target{Length: 16, Type: "zero"})
	if err := c.RemoveDeferred(a); err != nil {
		t.Fatal(err)
	}
	node(t, c, a, false)
	if _, err := c.Stat(a); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

// gone waits for a device that the kernel removes in its own time, and for
// its node.
func gone(t *testing.T, c *dm.Control, name string) {
	t.Helper()
	for range 1000 {
		_, err := c.Stat(name)
		_, nodeErr := os.Lstat(c.Path(name))
		if errdefs.IsNotFound(err) && os.IsNotExist(nodeErr) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s is still there", name)
}
