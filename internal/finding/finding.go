// Package finding holds the one value in which every part of Varve reports
// what is wrong with a node: `varve-NAME doctor -o json` prints a list of
// them, and `varve doctor` gathers the lists of all parts.
//
// The package owns the shape only. It looks at nothing and mends nothing.
package finding

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
)

// Severity says how much a finding matters to the person who runs the node.
type Severity string

const (
	// Error: something does not work now, or data is at risk.
	Error Severity = "error"
	// Warning: it works, but not as it should, or not for long.
	Warning Severity = "warning"
	// Info: worth knowing; nothing to do.
	Info Severity = "info"
)

// Finding is one fact about a node and what to do about it.
//
// The JSON form is a contract: fields are added, never renamed or removed.
type Finding struct {
	// ID is stable and unique per kind of finding, "PART.SUBJECT.FAULT" in
	// lower case with hyphens: "overlay.quota.unsupported".
	ID string `json:"id"`
	// Severity is one of error, warning, info.
	Severity Severity `json:"severity"`
	// Object names the thing concerned (a path, a device, a key); it may be
	// empty when the finding is about the whole node.
	Object string `json:"object,omitempty"`
	// Text says what is the case, in one sentence.
	Text string `json:"text"`
	// Meaning says what follows from it for the person who runs the node.
	Meaning string `json:"meaning,omitempty"`
	// Command is the exact command that mends it, ready to paste; empty when
	// no single command does, and then Remedy says what to do.
	Command string `json:"command,omitempty"`
	// Remedy says in words what to do.
	Remedy string `json:"remedy,omitempty"`
	// Orphan is true when the object belongs to nothing any more, so that
	// `varve doctor --fix` may remove it by running Command.
	Orphan bool `json:"orphan,omitempty"`
}

// List is what one part found. A healthy part returns an empty list.
type List []Finding

// Sort orders by severity (worst first), then id, then object, so that two
// runs over the same node print the same text.
func (l List) Sort() {
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	sort.SliceStable(l, func(i, j int) bool {
		a, b := l[i], l[j]
		if rank[a.Severity] != rank[b.Severity] {
			return rank[a.Severity] < rank[b.Severity]
		}
		if a.ID != b.ID {
			return a.ID < b.ID
		}
		return a.Object < b.Object
	})
}

// Worst returns the worst severity in the list, "" when it is empty.
func (l List) Worst() Severity {
	worst := Severity("")
	for _, f := range l {
		switch {
		case f.Severity == Error:
			return Error
		case f.Severity == Warning, worst == "":
			worst = f.Severity
		}
	}
	return worst
}

// WriteJSON prints the list as one JSON array, "[]" when it is empty.
func (l List) WriteJSON(w io.Writer) error {
	if l == nil {
		l = List{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(l)
}

// WriteText prints the list for a person, each finding with its remedy.
func (l List) WriteText(w io.Writer) error {
	for _, f := range l {
		object := ""
		if f.Object != "" {
			object = " " + f.Object
		}
		if _, err := fmt.Fprintf(w, "%-7s %s%s\n        %s\n", f.Severity, f.ID, object, f.Text); err != nil {
			return err
		}
		for _, line := range []struct{ label, text string }{
			{"meaning: ", f.Meaning}, {"remedy:  ", f.Remedy}, {"command: ", f.Command},
		} {
			if line.text == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "        %s%s\n", line.label, line.text); err != nil {
				return err
			}
		}
	}
	return nil
}
