package podstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/varve-project/varve/test/bench/result"
)

// Options say what is measured and where.
type Options struct {
	// Dir takes a folder with the data of all sides, removed afterwards; two
	// runs may share it.
	Dir string
	// Bin holds varve, and Bin/peers the peers.
	Bin string
	// Results takes runtime.json and README.md.
	Results string
	// Rounds is the number of interleaved rounds, Starts the number of starts
	// of each side in a round, whose median counts.
	Rounds, Starts int
	// PeersOnly leaves varve out, to try the harness out; nothing is written.
	PeersOnly bool
}

// Check refuses options that cannot give a result.
func (o Options) Check() error {
	if o.Rounds < 1 || o.Starts < 1 {
		return fmt.Errorf("-rounds %d -starts %d: give at least 1; results worth keeping need 5 rounds", o.Rounds, o.Starts)
	}
	return nil
}

// allowance is what the target adds to the floor, ms.
const allowance = 30.0

// Run measures, prints to out as it goes, and writes the result. It must run
// in a node of its own (test/node).
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	if err := o.Check(); err != nil {
		return err
	}
	if o.Bin, err = filepath.Abs(o.Bin); err != nil {
		return err
	}
	if o.Dir, err = result.TempDir(o.Dir); err != nil {
		return err
	}
	s := &suite{Options: o, out: out}
	defer func() { err = errors.Join(err, s.Close(), os.RemoveAll(o.Dir)) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	file, err := result.New("runtime", o.Dir, o.Rounds)
	if err != nil {
		return err
	}
	f := figures{}
	for round := range o.Rounds {
		for i := range s.contenders {
			c := s.contenders[(i+round)%len(s.contenders)]
			if err := s.measure(ctx, c, round, f); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	if file.Rows = s.rows(f); o.PeersOnly {
		return nil
	}
	if err := file.Print(out); err != nil {
		return err
	}
	return file.Write(o.Results)
}

// figures are the rounds' medians by contender and phase; "" is the whole.
type figures map[[2]string][]float64

// measure starts c several times and adds the round's medians to f.
func (s *suite) measure(ctx context.Context, c contender, round int, f figures) error {
	samples := map[string][]float64{}
	var order []string
	for i := range s.Starts {
		ms, phases, err := c.start(ctx, fmt.Sprintf("b%d-%d", round, i))
		if err != nil {
			return err
		}
		sums := map[string]float64{"": ms}
		for _, p := range phases {
			sums[p.name] += p.ms
			if round == 0 && i == 0 && !slices.Contains(order, p.name) {
				order = append(order, p.name)
			}
		}
		for name, sum := range sums {
			samples[name] = append(samples[name], sum)
		}
	}
	for name, values := range samples {
		key := [2]string{c.name, name}
		f[key] = append(f[key], result.Percentile(values, 50))
	}
	if c.name == oursName && round == 0 {
		s.phases = order
	}
	fmt.Fprintf(s.out, "round %d  %-28s first process after %.1f ms", round+1, c.name, result.Percentile(samples[""], 50))
	for name, values := range samples {
		if name != "" {
			fmt.Fprintf(s.out, "  %s %.1f", name, result.Percentile(values, 50))
		}
	}
	fmt.Fprintln(s.out)
	return nil
}
