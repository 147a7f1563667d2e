package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/pod"
)

func whyCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "why POD",
		Short:             "Tell the story of a pod: its phases, their times, and where and why it stopped",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: g.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
			g.repair()
			rec, err := g.record(args[0])
			if err != nil {
				return err
			}
			store := pod.NewStore(g.Config)
			entries, err := store.ReadJournal(rec)
			if err != nil {
				return err
			}
			v, err := viewOf(store, rec)
			if err != nil {
				return err
			}
			s := tell(v, entries)
			return g.print(s, func() error { return g.story(s) })
		},
	}
}

// story is what `varve why` prints.
type story struct {
	Pod    string      `json:"pod"`
	Phase  string      `json:"phase"`
	Reason string      `json:"reason,omitempty"`
	Phases []phase     `json:"phases"`
	Why    string      `json:"why,omitempty"`
	Notes  []pod.Entry `json:"notes,omitempty"`
}

// phase is one step of a start or a teardown.
type phase struct {
	Name   string    `json:"name"`
	Object string    `json:"object,omitempty"`
	Begin  time.Time `json:"begin"`
	// After is how long after the record was written it began.
	After time.Duration `json:"after"`
	Took  time.Duration `json:"took,omitempty"`
	// Ended is false for a phase that is under way, or was cut short.
	Ended bool   `json:"ended"`
	Error string `json:"error,omitempty"`
}

// tell makes phases of the journal's begins and ends.
func tell(v view, entries []pod.Entry) story {
	s := story{Pod: v.Metadata.Key.String(), Phase: v.word(), Reason: v.Status.Message, Phases: []phase{}}
	open := map[string]int{}
	for _, e := range entries {
		key := e.Phase + " " + e.Object
		switch e.Event {
		case pod.Begin:
			open[key] = len(s.Phases)
			s.Phases = append(s.Phases, phase{
				Name: e.Phase, Object: e.Object, Begin: e.Time, After: e.Time.Sub(v.Metadata.Created),
			})
		case pod.End:
			if i, ok := open[key]; ok {
				s.Phases[i].Took, s.Phases[i].Error, s.Phases[i].Ended = e.Took, e.Error, true
				delete(open, key)
			}
			// The innermost failure comes first, and the rest repeat it.
			if e.Error != "" && s.Why == "" {
				s.Why = e.Error
			}
		case pod.Note:
			s.Notes = append(s.Notes, e)
		}
	}
	return s
}

func (g *globals) story(s story) error {
	fmt.Fprintf(g.Out, "pod %s: %s\n\n", s.Pod, joinWords(s.Phase, s.Reason))
	var rows [][]string
	for _, p := range s.Phases {
		took, outcome := ms(p.Took), "ok"
		if !p.Ended {
			took, outcome = "-", "under way, or cut short by a crash"
		}
		if p.Error != "" {
			outcome = "FAILED: " + p.Error
		}
		rows = append(rows, []string{"+" + ms(p.After), joinWords(p.Name, p.Object), took, outcome})
	}
	if err := g.table([]string{"AT", "PHASE", "TOOK", "OUTCOME"}, rows); err != nil {
		return err
	}
	if len(s.Notes) > 0 {
		fmt.Fprintln(g.Out)
	}
	for _, n := range s.Notes {
		fmt.Fprintf(g.Out, "%s  %s: %s\n", n.Time.Local().Format("15:04:05.000"), joinWords(n.Phase, n.Object), n.Text)
	}
	if s.Why != "" {
		fmt.Fprintf(g.Out, "\nit stopped because: %s\n", s.Why)
	}
	return nil
}
