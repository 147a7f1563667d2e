package crash

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/varve-project/varve/test/leak"
)

// World is one fresh instance of a part, with folders of its own.
type World interface {
	// Start makes the part ready for calls, with these failpoint variables
	// in its environment. It reports a part that does not come up.
	Start(env ...string) error
	// Stop ends the part in the orderly way; a part that is not running is
	// no error.
	Stop() error
	// WaitKilled waits until the part has died of SIGKILL.
	WaitKilled() error
	// Reconcile waits for the one reconcile that may clean up, and returns
	// an error that names whatever belongs to nothing after it.
	Reconcile() error
	// Empty takes everything away, through the part's own interface.
	Empty() error
	// Disk lists what is on the disk; two empty worlds list the same.
	Disk() ([]string, error)
	// Kernel takes a snapshot of what the kernel holds for this world.
	Kernel() (leak.Snapshot, error)
}

// Case is one mutating call.
type Case[W World] struct {
	Name string
	// Setup makes what the call needs. What it made is acknowledged.
	Setup func(W) error
	// Call is the call that is killed. It is made again after the restart,
	// and must then succeed.
	Call func(W) error
	// Again replaces Call the second time, for calls whose callers ask
	// first whether the work was done.
	Again func(W) error
	// Settle waits for work that the call leaves to the background. It runs
	// while the part may be dying, so its error counts only where nothing
	// is killed. May be nil.
	Settle func(W) error
	// Kept checks that what Setup made is as the call may have left it,
	// whether it was done or not. May be nil.
	Kept func(W) error
	// Done checks that the call was done.
	Done func(W) error
	// First means that the call is the part's first start in an empty
	// folder. Setup and Call stay nil.
	First bool
	// Inside means that Setup runs under the same failpoint as Call: the
	// process that is killed is one that Setup starts.
	Inside bool
}

// Run runs the cases of a part. fresh makes a world; whatever it takes it
// gives back by t.Cleanup. Of the points, at most limit are killed at, chosen
// by a fixed seed over all cases; VARVE_CRASH_FULL=1 takes all.
func Run[W World](t *testing.T, limit int, fresh func(testing.TB) W, cases []Case[W]) {
	var all []kill[W]
	empty := map[string]rest{}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			points, left, err := learn(t, fresh, c)
			if err != nil {
				t.Fatal(err)
			}
			if len(points) == 0 {
				t.Fatal(noPoint)
			}
			empty[c.Name] = left
			for _, p := range points {
				all = append(all, kill[W]{c: c, at: p}, kill[W]{c: c, at: p, abandon: true})
			}
		})
	}
	if t.Failed() {
		return
	}
	chosen := sample(all, limit)
	t.Logf("killing %d times of %d: at each point once with the call made again, and once without", len(chosen), len(all))
	twice := map[string]kill[W]{}
	do := func(k kill[W]) {
		t.Run(fmt.Sprintf("%s/%s", k.c.Name, k), func(t *testing.T) {
			repair, err := k.run(t, fresh, empty[k.c.Name])
			if err != nil {
				t.Fatalf("killed at %s: %v", k, err)
			}
			for _, p := range repair {
				if _, have := twice[p.name]; !have && k.repair == nil {
					twice[p.name] = kill[W]{k.c, k.at, k.abandon, &p}
				}
			}
		})
	}
	for _, k := range chosen {
		do(k)
	}
	// Start-up is repair, and may be killed as well.
	for _, name := range slices.Sorted(maps.Keys(twice)) {
		do(twice[name])
	}
}

// Try kills at every point as Run does, and returns what it finds instead of
// failing the test: for parts whose faults are planted.
func Try[W World](t testing.TB, fresh func(testing.TB) W, cases []Case[W]) []string {
	var said []string
	for _, c := range cases {
		points, empty, err := learn(t, fresh, c)
		switch {
		case err != nil:
			said = append(said, err.Error())
		case len(points) == 0:
			said = append(said, c.Name+": "+noPoint)
		}
		for _, p := range points {
			for _, abandon := range []bool{false, true} {
				k := kill[W]{c: c, at: p, abandon: abandon}
				if _, err := k.run(t, fresh, empty); err != nil {
					said = append(said, fmt.Sprintf("killed at %s: %v", k, err))
				}
			}
		}
	}
	return said
}

const noPoint = "the call hit no failpoint: put failpoint.Hit around its effects"

// kill is one case killed at one point, and perhaps once more while it starts
// again.
type kill[W World] struct {
	c  Case[W]
	at point
	// abandon means that nobody makes the call again.
	abandon bool
	repair  *point
}

func (k kill[W]) String() string {
	s := k.at.String()
	if k.repair != nil {
		s += "+" + k.repair.String()
	}
	if k.abandon {
		s += ",abandoned"
	}
	return s
}

// run returns the points that the start after the kill went through.
func (k kill[W]) run(t testing.TB, fresh func(testing.TB) W, empty rest) ([]point, error) {
	w := fresh(t)
	before, err := w.Kernel()
	if err != nil {
		return nil, err
	}
	if err := prepare(w, k.c, k.at.env()); err != nil {
		return nil, err
	}
	acknowledged := k.c.call(w, k.at.env()) == nil
	if k.c.Settle != nil {
		_ = k.c.Settle(w)
	}
	if err := w.WaitKilled(); err != nil {
		return nil, err
	}
	if k.repair != nil {
		_ = w.Start(k.repair.env()) // it may die before it serves, or after
		if err := w.WaitKilled(); err != nil {
			return nil, fmt.Errorf("start after the kill: %w", err)
		}
	}
	log := filepath.Join(t.TempDir(), "points")
	if err := w.Start("VARVE_FAILPOINT_LOG=" + log); err != nil {
		return nil, fmt.Errorf("start after the kill: %w", err)
	}
	names, err := hits(log)
	if err != nil {
		return nil, err
	}
	for _, step := range k.after(acknowledged) {
		if step.do == nil {
			continue
		}
		if err := step.do(w); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return pointsOf(w, names, 0), finish(w, before, empty)
}

type step[W World] struct {
	what string
	do   func(W) error
}

// after is what must hold once the part is up again.
func (k kill[W]) after(acknowledged bool) []step[W] {
	reconcile := func(w W) error { return w.Reconcile() }
	steps := []step[W]{{"what was there before the call", k.c.Kept}}
	if acknowledged {
		steps = append(steps, step[W]{"the call was acknowledged, and its work is lost", k.c.Done})
	}
	steps = append(steps, step[W]{"after one reconcile", reconcile})
	if k.abandon {
		return steps
	}
	again := k.c.Again
	if again == nil {
		again = k.c.Call // nil for a first start, which has been made again
	}
	return append(steps,
		step[W]{"the call made again", again},
		step[W]{"after the call was made again", k.c.Done},
		step[W]{"reconcile after the call was made again", reconcile},
	)
}

// call makes the call, with env in force for a first start.
func (c Case[W]) call(w W, env string) error {
	if c.First {
		return w.Start(env)
	}
	return c.Call(w)
}

// prepare brings w to the point where Call can be made, with env in force.
func prepare[W World](w W, c Case[W], env string) error {
	if c.First {
		return nil
	}
	first := []string{}
	if c.Inside {
		first = []string{env}
	}
	if err := w.Start(first...); err != nil {
		return err
	}
	if c.Setup != nil {
		if err := c.Setup(w); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	if c.Inside {
		return nil
	}
	if err := w.Stop(); err != nil {
		return fmt.Errorf("stop after the set-up: %w", err)
	}
	return w.Start(env)
}

// finish empties w and fails on whatever is left in the kernel or on disk that
// a world leaves which nobody killed.
func finish(w World, before leak.Snapshot, empty rest) error {
	if err := clear(w); err != nil {
		return err
	}
	deadline := time.Now().Add(settleTime)
	for {
		now, err := left(w, before)
		if err != nil {
			return err
		}
		more := now.beyond(empty)
		// The disk settles before a call returns, the kernel after it.
		if more == nil || len(now.kernel) <= len(empty.kernel) || time.Now().After(deadline) {
			return more
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// clear empties w and stops it.
func clear(w World) error {
	if err := w.Empty(); err != nil {
		return fmt.Errorf("empty it: %w", err)
	}
	if err := w.Reconcile(); err != nil {
		return fmt.Errorf("after it was emptied: %w", err)
	}
	if err := w.Stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}
