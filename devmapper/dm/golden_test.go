package dm_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/dm/recorder"
)

// To record anew, in a machine whose /dev/vda is an empty disk of 64 MiB or
// more: go test -exec 'vm run --disk 1G --share DIR --' -run Golden -record DIR
// and move DIR's files to testdata.
var recordTo = flag.String("record", "", "record the goldens from the running kernel into this directory")

// golden is one scenario, which runs over a record of a real kernel, without
// root and without device-mapper, and asserts what it reads and what it costs.
type golden struct {
	*testing.T
	*dm.Control
	count func() int
}

// costs runs f and asserts how many ioctls it took.
func (g golden) costs(want int, f func() error) {
	g.Helper()
	before := g.count()
	if err := f(); err != nil {
		g.Error(err)
	}
	if n := g.count() - before; n != want {
		g.Errorf("%d ioctls, want %d", n, want)
	}
}

// must runs f and asserts that nothing went wrong.
func (g golden) must(errs ...error) {
	g.Helper()
	if err := errors.Join(errs...); err != nil {
		g.Fatal(err)
	}
}

var scenarios = map[string]func(golden){
	"life": life, "failures": failures, "layers": layers, "thin": thinPool, "lists": lists,
}

func TestGolden(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			if *recordTo != "" {
				recordGolden(t, name, scenario)
				return
			}
			text, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
			if err != nil {
				t.Fatal(err)
			}
			calls, err := recorder.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			player := recorder.Play(calls)
			scenario(golden{t, dm.New(player), player.Played})
			if n := player.Left(); n > 0 && !t.Failed() {
				t.Errorf("%d ioctls of the record were not made", n)
			}
		})
	}
}

func recordGolden(t *testing.T, name string, scenario func(golden)) {
	var r *recorder.Recorder
	c := open(t, dm.WithoutUdev(), dm.WithKernel(func(k dm.Kernel) dm.Kernel {
		r = recorder.Over(k)
		return r
	}))
	r.Take() // Open's own
	scenario(golden{t, c, r.Count})
	if err := os.WriteFile(filepath.Join(*recordTo, name+".golden"), recorder.Format(r.Take()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// life takes a device through all its states.
func life(g golden) {
	zero := dm.Target{Length: 8, Type: "zero"}
	g.costs(1, func() error { _, err := g.Create("golden", "GOLDEN-1", dm.CreateOptions{Minor: 77}); return err })
	g.costs(1, func() error { return g.Load("golden", true, zero) })
	g.costs(1, func() error {
		table, err := g.InactiveTable("golden")
		if len(table) != 1 || table[0] != zero {
			g.Errorf("loaded %v", table)
		}
		return err
	})
	g.costs(1, func() error { return g.Clear("golden") })
	g.costs(1, func() error { return g.Load("golden", true, zero, dm.Target{Start: 8, Length: 16, Type: "error"}) })
	g.costs(1, func() error { return g.Resume("golden") })
	g.costs(1, func() error {
		info, err := g.Stat("golden")
		want := dm.Info{Name: "golden", UUID: "GOLDEN-1", Major: info.Major, Minor: 77, Targets: 2, Event: info.Event, Live: true, ReadOnly: true}
		if info != want {
			g.Errorf("%+v, want %+v", info, want)
		}
		return err
	})
	g.costs(1, func() error {
		info, status, err := g.Status("golden", dm.StatusOptions{NoFlush: true})
		if len(status) != 2 || status[1] != (dm.TargetStatus{Start: 8, Length: 16, Type: "error"}) || info.Targets != 2 {
			g.Errorf("%+v, %+v", info, status)
		}
		return err
	})
	g.costs(1, func() error { return g.Suspend("golden", dm.SuspendOptions{}) })
	g.costs(1, func() error { return g.Resume("golden") })
	g.costs(1, func() error { return g.Suspend("golden", dm.SuspendOptions{NoFlush: true, SkipLockFS: true}) })
	g.costs(1, func() error { return g.Rename("golden", "golden-2") })
	g.costs(1, func() error { return g.Resume("golden-2") })
	g.costs(1, func() error { return g.Remove("golden-2") })
}

// failures are the errnos of a real kernel.
func failures(g golden) {
	refuses := func(ioctls int, kind func(error) bool, f func() error) {
		g.Helper()
		g.costs(ioctls, func() error {
			if err := f(); !kind(err) {
				return fmt.Errorf("wrong kind: %w", err)
			}
			return nil
		})
	}
	refuses(1, errdefs.IsNotFound, func() error { _, err := g.Stat("golden-none"); return err })
	refuses(1, errdefs.IsNotFound, func() error { return g.Remove("golden-none") })
	refuses(1, errdefs.IsNotFound, func() error { return g.Rename("golden-none", "golden-new") })
	zero := dm.Target{Length: 8, Type: "zero"}
	g.costs(3, func() error { _, err := g.Activate("golden", "GOLDEN-2", false, zero); return err })
	refuses(1, errdefs.IsAlreadyExists, func() error { _, err := g.Activate("golden", "", false, zero); return err })
	refuses(1, errdefs.IsAlreadyExists, func() error { _, err := g.Create("golden-b", "GOLDEN-2", dm.CreateOptions{}); return err })
	refuses(2, errdefs.IsInvalidArgument, func() error {
		return g.Load("golden", false, dm.Target{Length: 8, Type: "linear", Params: "nothing"})
	})
	refuses(4, errdefs.IsInvalidArgument, func() error {
		_, err := g.Activate("golden-b", "", false, dm.Target{Length: 8, Type: "linear", Params: "nothing"})
		return err
	})
	refuses(1, errdefs.IsInvalidArgument, func() error { _, err := g.Message("golden", 0, "hello"); return err })
	refuses(1, errdefs.IsNotImplemented, func() error { _, err := g.TargetVersion("nonesuch"); return err })
	g.must(g.Remove("golden"))
}

// layers puts a device on another, which then cannot go but later.
func layers(g golden) {
	below, err := g.Create("golden-below", "", dm.CreateOptions{})
	g.must(err, g.Load("golden-below", false, dm.Target{Length: 8, Type: "zero"}), g.Resume("golden-below"))
	_, err = g.Activate("golden-above", "", false, dm.Target{Length: 8, Type: "linear", Params: fmt.Sprintf("%d:%d 0", below.Major, below.Minor)})
	g.must(err)
	g.costs(1, func() error {
		deps, err := g.Deps("golden-above")
		if len(deps) != 1 || deps[0] != (dm.Device{Major: below.Major, Minor: below.Minor}) {
			g.Errorf("lies on %v", deps)
		}
		return err
	})
	g.costs(2, func() error {
		if err := g.Remove("golden-below"); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "open 1 times") {
			return fmt.Errorf("in use: %w", err)
		}
		return nil
	})
	g.costs(1, func() error { return g.RemoveDeferred("golden-below") })
	if info, err := g.Stat("golden-below"); err != nil || !info.DeferredRemove || info.Open != 1 {
		g.Errorf("%+v, %v", info, err)
	}
	g.costs(1, func() error { return g.CancelDeferred("golden-below") })
	if info, err := g.Stat("golden-below"); err != nil || info.DeferredRemove {
		g.Errorf("%+v, %v", info, err)
	}
	g.must(g.Remove("golden-above"))
	g.costs(1, func() error { return g.RemoveDeferred("golden-below") })
	if _, err := g.Stat("golden-below"); !errdefs.IsNotFound(err) {
		g.Error(err)
	}
}

// thinPool makes a pool on /dev/vda, a thin device and a snapshot of it.
func thinPool(g golden) {
	linear := func(name string, start, length uint64) dm.Info {
		info, err := g.Create(name, "", dm.CreateOptions{})
		g.must(err, g.Load(name, false, dm.Target{Length: length, Type: "linear", Params: fmt.Sprintf("/dev/vda %d", start)}), g.Resume(name))
		return info
	}
	meta, data := linear("golden-meta", 0, 4*sectorsPerMiB), linear("golden-data", 4*sectorsPerMiB, 32*sectorsPerMiB)
	pool, err := g.Create("golden-pool", "", dm.CreateOptions{})
	g.must(err, g.Load("golden-pool", false, dm.Target{
		Length: 32 * sectorsPerMiB, Type: "thin-pool",
		Params: fmt.Sprintf("%d:%d %d:%d 128 64", meta.Major, meta.Minor, data.Major, data.Minor),
	}))
	g.must(g.Resume("golden-pool"))
	g.costs(1, func() error { _, err := g.Message("golden-pool", 0, "create_thin 1"); return err })
	thin := dm.Target{Length: 8 * sectorsPerMiB, Type: "thin", Params: fmt.Sprintf("%d:%d 1", pool.Major, pool.Minor)}
	g.costs(3, func() error { _, err := g.Activate("golden-thin", "GOLDEN-thin", false, thin); return err })
	g.costs(1, func() error { return g.Suspend("golden-thin", dm.SuspendOptions{}) })
	g.costs(1, func() error { _, err := g.Message("golden-pool", 0, "create_snap 2 1"); return err })
	g.costs(1, func() error { return g.Resume("golden-thin") })
	if _, err := g.Message("golden-pool", 0, "create_thin 2"); !errdefs.IsAlreadyExists(err) {
		g.Error(err)
	}
	if _, err := g.Message("golden-pool", 0, "delete 9"); !errdefs.IsNotFound(err) {
		g.Error(err)
	}
	g.costs(1, func() error {
		_, status, err := g.Status("golden-pool", dm.StatusOptions{})
		if len(status) != 1 || !strings.HasPrefix(status[0].Status, "0 ") || !strings.Contains(status[0].Status, " 0/512 ") {
			g.Errorf("%+v", status)
		}
		return err
	})
	g.costs(1, func() error { return g.Remove("golden-thin") })
	g.costs(1, func() error { _, err := g.Message("golden-pool", 0, "delete 1"); return err })
	g.must(g.Remove("golden-pool"), g.Remove("golden-meta"), g.Remove("golden-data"))
}

// lists are those of the whole machine.
func lists(g golden) {
	g.costs(1, func() error { v, err := g.Version(); g.versionIs(v); return err })
	for i := range 3 {
		_, err := g.Create(fmt.Sprintf("golden-%d", i), strings.Repeat("GOLDEN-list", i), dm.CreateOptions{})
		g.must(err)
	}
	g.costs(1, func() error {
		entries, err := g.List()
		found := 0
		for _, e := range entries {
			var i int
			if n, _ := fmt.Sscanf(e.Name, "golden-%d", &i); n == 1 && e.UUID == strings.Repeat("GOLDEN-list", i) && e.Major > 0 {
				found++
			}
		}
		if found != 3 {
			g.Errorf("%+v", entries)
		}
		return err
	})
	g.costs(1, func() error {
		v, err := g.TargetVersion("thin-pool")
		g.versionIs(v)
		return err
	})
	g.costs(1, func() error {
		types, err := g.Targets()
		for _, kind := range types {
			if kind.Name == "thin" {
				g.versionIs(kind.Version)
				return err
			}
		}
		return fmt.Errorf("no thin among %v: %w", types, err)
	})
	g.costs(1, func() error {
		if table, err := g.Table("golden-1"); err != nil || table != nil {
			return fmt.Errorf("a table %v: %w", table, err)
		}
		return nil
	})
	for i := range 3 {
		g.must(g.Remove(fmt.Sprintf("golden-%d", i)))
	}
}

func (g golden) versionIs(v dm.Version) {
	g.Helper()
	if v.Major == 0 {
		g.Errorf("version %s", v)
	}
}
