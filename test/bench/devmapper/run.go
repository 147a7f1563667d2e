package devmapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/varve-project/varve/test/bench/result"
)

// Run measures, prints to out as it goes, and writes the result. It is what
// runs in the virtual machine.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	ctx = namespaces.WithNamespace(ctx, "bench")
	s, err := start(ctx, o, out)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err != nil {
		return err
	}
	b := &bench{suite: s, out: out, figures: map[string]map[string][]float64{}}
	if b.emulated, err = emulated(); err != nil {
		return err
	}
	if b.tracer, err = newTracer(filepath.Join(s.dir, "trace")); err != nil {
		return err
	}
	file, err := result.New("devmapper", s.dir, o.Rounds)
	if err != nil {
		return err
	}
	measures := b.measures()
	for round := range o.Rounds {
		for _, m := range measures {
			if round >= m.rounds || !strings.Contains(m.name+"/"+strings.Join(m.order, "/"), o.Only) {
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
	if len(file.Rows) > 0 {
		file.Rows[0].Note = strings.Join([]string{b.machine(), file.Rows[0].Note}, "; ")
	}
	if err := file.Print(out); err != nil {
		return err
	}
	return file.Write(o.Results)
}

// bench collects the figures: measure's figure → contender → one per round.
type bench struct {
	*suite
	tracer   tracer
	emulated bool
	out      io.Writer
	figures  map[string]map[string][]float64
}

// emulated says whether the machine's processor is QEMU's own.
func emulated() (bool, error) {
	text, err := os.ReadFile("/proc/cpuinfo")
	return strings.Contains(string(text), "QEMU TCG"), err
}

// machine says where this ran.
func (b *bench) machine() string {
	text := "in a virtual machine with KVM"
	if b.emulated {
		text = "in an emulated machine, where starting a program is dear"
	}
	text += fmt.Sprintf("; equal pools, base size %s, ext4", BaseSize)
	if b.options.Note != "" {
		text += "; " + b.options.Note
	}
	return text
}

// round measures each contender once, beginning with another one each round.
func (b *bench) round(ctx context.Context, m measure, round int) error {
	for i, all := 0, b.all(); i < len(all); i++ {
		c := all[(i+round)%len(all)]
		figures, err := m.run(ctx, c, fmt.Sprintf("r%d", round))
		if err != nil {
			return err
		}
		var parts []string
		for _, name := range m.order {
			of := b.figures[m.name+"/"+name]
			if of == nil {
				of = map[string][]float64{}
				b.figures[m.name+"/"+name] = of
			}
			of[c.Name] = append(of[c.Name], figures[name])
			parts = append(parts, fmt.Sprintf("%s %.3g", name, figures[name]))
		}
		fmt.Fprintf(b.out, "round %d  %-16s %-18s %s\n", round+1, m.name, c.Name, strings.Join(parts, "  "))
	}
	return nil
}

// rows compares ours with the peer.
func (b *bench) rows(m measure) []result.Row {
	var rows []result.Row
	for _, name := range m.order {
		of := b.figures[m.name+"/"+name]
		if len(of[b.ours.Name]) == 0 {
			continue // left out by -only
		}
		rows = append(rows, result.Row{
			Name: m.name + "/" + name, Peer: b.builtin.Peer, Unit: m.unit, Target: m.targets[name],
			Ours: of[b.ours.Name], Theirs: of[b.builtin.Name], Note: m.note,
		}.Compare())
	}
	return rows
}
