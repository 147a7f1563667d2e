package dm_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/dm/recorder"
)

// Two hundred devices come and go at once: each with its node while it is
// there, none left.
func TestMany(t *testing.T) {
	for mode, test := range map[string]struct {
		opts    []dm.Option
		devices int
	}{
		"default": {nil, 200}, "without-scan": {[]dm.Option{dm.WithoutScan()}, 200},
	} {
		t.Run(mode, func(t *testing.T) {
			c := open(t, test.opts...)
			if udevRuns() {
				test.devices = 20 // its queue is slow
			}
			if _, err := c.TargetVersion("zero"); err != nil { // its module, once; see Activate
				t.Fatal(err)
			}
			many(t, c, test.devices)
			if n := c.Overdue(); n > 0 {
				t.Errorf("udevd was not waited for %d times", n)
			}
			left(t, c)
		})
	}
}

func many(t *testing.T, c *dm.Control, devices int) {
	t.Helper()
	var all, here sync.WaitGroup
	errs := make([]error, devices)
	here.Add(devices)
	for i := range devices {
		all.Go(func() {
			name := fmt.Sprintf("dmtest-many-%d", i)
			path, err := c.Activate(name, "DMTEST-"+name, false, dm.Target{Length: uint64(8 + i), Type: "zero"})
			if err == nil {
				_, err = os.Stat(path)
			}
			here.Done()
			here.Wait() // all are there at the same moment
			_, listErr := c.List()
			errs[i] = errors.Join(err, listErr, c.Remove(name))
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// left finds what many left behind, once udevd has nothing more to do.
func left(t *testing.T, c *dm.Control) {
	t.Helper()
	settle(t)
	entries, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, "dmtest-many-") {
			t.Errorf("left: %+v", e)
		}
	}
	nodes, err := os.ReadDir("/dev/mapper")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if strings.HasPrefix(n.Name(), "dmtest-many-") {
			t.Errorf("left: %s", n.Name())
		}
	}
}

// A table of hundreds of targets comes back whole, for one more ioctl each
// time the answer doubles.
func TestLongTable(t *testing.T) {
	var rec *recorder.Recorder
	c := open(t, dm.WithKernel(func(k dm.Kernel) dm.Kernel {
		rec = recorder.Over(k)
		return rec
	}))
	below, a := name(t, c, "below"), name(t, c, "a")
	path := activate(t, c, below, dm.Target{Length: 8000, Type: "zero"})
	targets := make([]dm.Target, 1000) // 56 bytes each: 55 KiB
	info, err := c.Stat(below)
	if err != nil {
		t.Fatal(err)
	}
	for i := range targets {
		targets[i] = dm.Target{Start: uint64(8 * i), Length: 8, Type: "linear", Params: fmt.Sprintf("%d:%d %d", info.Major, info.Minor, 8*(999-i))}
	}
	activate(t, c, a, targets...)
	rec.Take()
	table, err := c.Table(a)
	if err != nil || len(table) != len(targets) {
		t.Fatalf("%d targets, %v", len(table), err)
	}
	if n := len(rec.Take()); n != 3 {
		t.Errorf("%d ioctls, want 3: 16, 32 and 64 KiB", n)
	}
	for i := range targets {
		if table[i] != targets[i] {
			t.Fatalf("target %d: %s, was %s", i, table[i], targets[i])
		}
	}
	if _, status, err := c.Status(a, dm.StatusOptions{NoFlush: true}); err != nil || len(status) != len(targets) || status[999].Start != 7992 {
		t.Errorf("%d lines, %v", len(status), err)
	}
	if deps, err := c.Deps(a); err != nil || len(deps) != 1 || deps[0] != (dm.Device{Major: info.Major, Minor: info.Minor}) {
		t.Errorf("%v, %v; below is %s", deps, err, path)
	}
	agree(t, c, a)
}
