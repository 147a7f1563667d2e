package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/varve-project/varve/test/bench/result"
)

// The bounds of the issue: each a ratio of ours to the built-in's.
const (
	targetP50    = 1.05
	targetP99    = 1.25
	targetUnpack = 1.0
	// removeBound is how long Remove of the big snapshot may take, ms.
	removeBound = 10.0
	// parallelUnpacks is max_concurrent_unpacks of the parallel measure.
	parallelUnpacks = 4
)

// Run measures, prints to out as it goes, and writes the result. It must run
// in a node of its own (test/node).
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	if err := o.Check(); err != nil {
		return err
	}
	if o.Dir, err = result.TempDir(o.Dir); err != nil {
		return err
	}
	ctx = namespaces.WithNamespace(ctx, "bench")
	s, err := start(ctx, o)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err != nil {
		return err
	}
	file, err := result.New(o.bench(), o.Dir, o.Rounds)
	if err != nil {
		return err
	}
	b := &bench{suite: s, out: out, figures: map[string]map[string][]float64{}}
	measures, err := b.measures(ctx)
	if err != nil {
		return err
	}
	for round := range o.Rounds {
		for _, m := range measures {
			if !strings.Contains(m.name, o.Only) {
				continue
			}
			if err := b.round(ctx, m, round); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	for _, m := range measures {
		file.Rows = append(file.Rows, b.rows(m)...)
	}
	if err := file.Print(out); err != nil {
		return err
	}
	return file.Write(o.Results)
}

// bench collects the figures: measure's figure → contender → one per round.
type bench struct {
	*suite
	out     io.Writer
	figures map[string]map[string][]float64
}

// round measures each contender once, beginning with another one each round.
func (b *bench) round(ctx context.Context, m measure, round int) error {
	for i := range m.contenders {
		c := m.contenders[(i+round)%len(m.contenders)]
		figures, err := m.run(ctx, c, fmt.Sprintf("r%d", round))
		if err != nil {
			return err
		}
		for name, value := range figures {
			if b.figures[m.name+"/"+name] == nil {
				b.figures[m.name+"/"+name] = map[string][]float64{}
			}
			of := b.figures[m.name+"/"+name]
			of[c.Name] = append(of[c.Name], value)
		}
		fmt.Fprintf(b.out, "round %d  %-28s %-18s %s\n", round+1, m.name, c.Name, summary(m.order, figures))
	}
	return nil
}

func summary(order []string, figures map[string]float64) string {
	var parts []string
	for _, name := range order {
		parts = append(parts, fmt.Sprintf("%s %.3g", name, figures[name]))
	}
	return strings.Join(parts, "  ")
}

// rows compares ours with every peer of the measure.
func (b *bench) rows(m measure) []result.Row {
	var rows []result.Row
	for _, c := range m.contenders {
		if c.Name == oursName {
			continue
		}
		for _, name := range m.order {
			of := b.figures[m.name+"/"+name]
			if len(of[oursName]) == 0 {
				continue // left out by -only
			}
			row := result.Row{
				Name: m.name + "/" + name, Peer: c.Peer, Unit: "ms",
				Ours: of[oursName], Theirs: of[c.Name], Note: m.note,
			}
			if c.Name == builtinName {
				row.Target = m.target(name)
			}
			rows = append(rows, row.Compare())
		}
	}
	return append(rows, b.bound(m)...)
}

// bound holds Remove of the big snapshot, straight over the socket, against
// its time.
func (b *bench) bound(m measure) []result.Row {
	ours := b.figures[m.name+"/remove"][oursName]
	if m.name != bigDirect || len(ours) == 0 {
		return nil
	}
	row := result.Row{Name: m.name + "/remove returns", Peer: "the bound of 10 ms", Unit: "ms", Ours: ours, Target: 1}
	for range ours {
		row.Theirs = append(row.Theirs, removeBound)
	}
	return []result.Row{row.Compare()}
}
