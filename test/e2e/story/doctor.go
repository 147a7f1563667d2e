package story

import (
	"context"
	"fmt"
	"strings"
)

// finding is what the story reads of `varve doctor -o json`.
type finding struct{ ID, Severity, Object, Text string }

// doctor asks the doctor, prints what he says in one line each, and holds him
// to it: nothing may be an error, and nothing may be worse than at his first
// visit, before any pod. (What this kind of machine lacks, he names each time.)
func (s *story) doctor(ctx context.Context) error {
	var all []finding
	if err := s.ask(ctx, &all, "doctor"); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "  $ varve doctor\n")
	first := s.first == nil
	if first {
		s.first = map[finding]bool{}
	}
	var worse []string
	for _, f := range all {
		text := strings.TrimSpace(fmt.Sprintf("%-8s%s %s", f.Severity, f.ID, f.Object))
		if first || !s.first[f] {
			s.show(text + "\n        " + f.Text)
		}
		switch {
		case f.Severity == "error", f.Severity == "warning" && !first && !s.first[f]:
			worse = append(worse, text)
		case first:
			s.first[f] = true
		}
	}
	if len(worse) > 0 {
		return fmt.Errorf("the doctor found %s", strings.Join(worse, "; "))
	}
	if !first {
		s.say("  nothing but what he said at first")
	}
	return nil
}
