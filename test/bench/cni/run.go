package cni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/varve-project/varve/test/bench/result"
)

// Options say what is measured and where.
type Options struct {
	// Dir takes a folder with the records of both sides, removed afterwards.
	Dir string
	// Bin holds varve-cni, and Bin/peers/cni the reference plug-ins.
	Bin string
	// Results takes cni.json and README.md; empty writes nothing.
	Results string
	// Rounds is the number of interleaved rounds.
	Rounds int
	// Pods is how many pods a side attaches and detaches in a round, at each
	// concurrency; the median call of a round counts.
	Pods int
}

// atOnce are the concurrencies.
var atOnce = []int{1, 8}

// Check refuses options that cannot give a result.
func (o Options) Check() error {
	if o.Rounds < 1 || o.Pods < 1 || o.Pods > 1000 {
		return fmt.Errorf("-rounds %d -pods %d: give at least 1, and 1,000 pods at most; results worth keeping need 5 rounds", o.Rounds, o.Pods)
	}
	return nil
}

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
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	ours, err := newSide(oursName, oursConf, o.Bin, o.Dir, 10000)
	if err != nil {
		return err
	}
	reference, err := newSide("reference", referenceConf, filepath.Join(o.Bin, "peers", "cni"), o.Dir, 20000)
	if err != nil {
		return err
	}
	sides := []*side{ours, reference}
	for _, s := range sides { // the first pod makes bridge and tables
		if _, _, err := s.batch(ctx, loads[0], o.Dir, 1, 1); err != nil {
			return err
		}
	}
	file, err := result.New("cni", o.Dir, o.Rounds)
	if err != nil {
		return err
	}
	f := figures{}
	for round := range o.Rounds {
		for i := range len(loads) * len(atOnce) * len(sides) {
			l, n, s := loads[i/4], atOnce[i/2%2], sides[(i+round)%2]
			if err := f.measure(ctx, o, s, l, n, round, out); err != nil {
				return err
			}
		}
	}
	file.Rows = f.rows()
	if err := file.Print(out); err != nil || o.Results == "" {
		return err
	}
	return file.Write(o.Results)
}

// figure names one measure of one side.
type figure struct {
	side, call string
	load       load
	atOnce     int
}

// figures are the rounds' medians.
type figures map[figure][]float64

func (f figures) measure(ctx context.Context, o Options, s *side, l load, n, round int, out io.Writer) error {
	adds, dels, err := s.batch(ctx, l, o.Dir, o.Pods, n)
	if err != nil {
		return err
	}
	add, del := result.Percentile(adds, 50), result.Percentile(dels, 50)
	fmt.Fprintf(out, "round %d  %s, %d at once  %-10s ADD %.1f ms  DEL %.1f ms\n", round+1, l.second, n, s.name, add, del)
	for call, ms := range map[string]float64{"ADD": add, "DEL": del} {
		key := figure{s.name, call, l, n}
		f[key] = append(f[key], ms)
	}
	return nil
}

func (f figures) rows() []result.Row {
	var rows []result.Row
	for _, l := range loads {
		for _, call := range []string{"ADD", "DEL"} {
			target := l.add
			if call == "DEL" {
				target = l.del
			}
			for _, n := range atOnce {
				rows = append(rows, result.Row{
					Name: fmt.Sprintf("%s p50, tcp and %s, %d at once", call, l.second, n), Peer: referenceName, Unit: "ms", Target: target,
					Ours: f[figure{oursName, call, l, n}], Theirs: f[figure{"reference", call, l, n}], Note: l.note,
				}.Compare())
			}
		}
	}
	return rows
}
