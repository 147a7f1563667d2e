package story

import (
	"context"
	"fmt"
	"slices"
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
	all = slices.DeleteFunc(all, s.foreign)
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

// foreign says whether a finding is of another suite on this machine: cgroups
// are shared, and a pod of another root is an orphan in our eyes.
func (s *story) foreign(f finding) bool {
	return f.ID == "runtime.cgroup.orphan" &&
		!slices.ContainsFunc(s.scope.Cgroups, func(uid string) bool { return strings.Contains(f.Object, uid) })
}
