package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/test/leak"
)

// point is the nth hit of a failpoint in one process.
type point struct {
	name string
	nth  int
}

func (p point) String() string { return fmt.Sprintf("%s@%d", p.name, p.nth) }

func (p point) env() string { return fmt.Sprintf("VARVE_FAILPOINT=%s=kill@%d", p.name, p.nth) }

// Picker is implemented by worlds whose calls run through other parts as well,
// or through several processes: only the points that it picks are killed at.
type Picker interface {
	Pick(name string, nth int) bool
}

// Keeper is implemented by worlds whose part leaves something in the kernel by
// design when it is empty: a bridge, a table.
type Keeper interface{ Keeps() }

// learn runs a case without a kill. It returns the points that the call hit
// and what the emptied world left on the disk.
func learn[W World](t testing.TB, fresh func(testing.TB) W, c Case[W]) ([]point, rest, error) {
	w := fresh(t)
	log := filepath.Join(t.TempDir(), "points")
	before, err := w.Kernel()
	if err != nil {
		return nil, rest{}, err
	}
	env := "VARVE_FAILPOINT_LOG=" + log
	if err := prepare(w, c, env); err != nil {
		return nil, rest{}, err
	}
	early, err := hits(log)
	if err != nil {
		return nil, rest{}, err
	}
	call := func(w W) error { return c.call(w, env) }
	steps := []step[W]{{"call", call}, {"settle", c.Settle}}
	for _, s := range steps {
		if s.do == nil {
			continue
		}
		if err := s.do(w); err != nil {
			return nil, rest{}, fmt.Errorf("%s, without a kill: %w", s.what, err)
		}
	}
	all, err := hits(log)
	if err != nil {
		return nil, rest{}, err
	}
	if err := c.Done(w); err != nil {
		return nil, rest{}, fmt.Errorf("after the call, without a kill: %w", err)
	}
	if err := clear(w); err != nil {
		return nil, rest{}, fmt.Errorf("without a kill: %w", err)
	}
	empty, err := settled(w, before)
	return pointsOf(w, all, len(early)), empty, err
}

// settled is what an emptied world leaves once the kernel has done what it
// defers. Only a Keeper may leave anything in the kernel.
func settled(w World, before leak.Snapshot) (rest, error) {
	_, keeps := w.(Keeper)
	deadline := time.Now().Add(settleTime)
	if keeps {
		deadline = time.Now().Add(time.Second)
	}
	for {
		r, err := left(w, before)
		switch {
		case err != nil || len(r.kernel) == 0 || keeps && time.Now().After(deadline):
			return r, err
		case time.Now().After(deadline):
			return r, fmt.Errorf("without a kill: %w", r.beyond(rest{disk: r.disk}))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pointsOf numbers the hits of one process and keeps those after the first
// skip.
func pointsOf(w World, names []string, skip int) []point {
	picker, picks := w.(Picker)
	count := map[string]int{}
	var points []point
	for i, name := range names {
		count[name]++
		if i >= skip && (!picks || picker.Pick(name, count[name])) {
			points = append(points, point{name, count[name]})
		}
	}
	return points
}

func hits(log string) ([]string, error) {
	data, err := os.ReadFile(log)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(data)), err
}

// sample takes limit of the kills: first one of each point's name, so that no
// effect goes untested while there is room, then others, by a fixed seed.
func sample[W World](all []kill[W], limit int) []kill[W] {
	if os.Getenv("VARVE_CRASH_FULL") != "" || len(all) <= limit {
		return all
	}
	random := rand.New(rand.NewPCG(7, 7))
	order := random.Perm(len(all))
	named, taken := map[string]bool{}, map[int]bool{}
	for _, i := range order {
		if name := all[i].c.Name + all[i].at.name; !named[name] && len(taken) < limit {
			named[name], taken[i] = true, true
		}
	}
	for _, i := range order {
		if len(taken) < limit {
			taken[i] = true
		}
	}
	var chosen []kill[W]
	for i, k := range all {
		if taken[i] {
			chosen = append(chosen, k)
		}
	}
	return chosen
}
