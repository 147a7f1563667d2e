package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/varve-project/varve/internal/failpoint"
)

// Action is one effect. Its values are plain, so that a plan can be compared,
// printed and run.
type Action interface {
	// Shell is the effect as a command line; one that is no command of its
	// own says in words what is done.
	Shell() string
	// do performs it. It may have been performed already, wholly or in part.
	do(ctx context.Context, h *Host) error
}

// Step is an action with its name and its reason.
type Step struct {
	// Name is the failpoint's: "setup.CALL.NAME.before".
	Name   string
	Why    string
	Action Action
}

// Plan is what one command will do.
type Plan struct {
	// Call is create, extend, repair or destroy.
	Call string
	// UUID is the pool's.
	UUID string
	// Notes are what a person should know before: sizes with their reasons,
	// warnings.
	Notes []string
	Steps []Step
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Plan) add(name, why string, a Action) {
	p.Steps = append(p.Steps, Step{Name: name, Why: why, Action: a})
}

// WriteText prints notes and steps for a person.
func (p *Plan) WriteText(w io.Writer) {
	for _, n := range p.Notes {
		fmt.Fprintf(w, "# %s\n", n)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(w, "[%d/%d] %s\n        %s\n", i+1, len(p.Steps), s.Why, s.Action.Shell())
	}
	if len(p.Steps) == 0 {
		fmt.Fprintln(w, "nothing to do")
	}
}

// MarshalJSON is the plan's form for programs; fields are added, never
// renamed.
func (p *Plan) MarshalJSON() ([]byte, error) {
	type step struct {
		Name string `json:"name"`
		Why  string `json:"why"`
		Run  string `json:"run"`
	}
	steps := make([]step, len(p.Steps))
	for i, s := range p.Steps {
		steps[i] = step{s.Name, s.Why, s.Action.Shell()}
	}
	notes := p.Notes
	if notes == nil {
		notes = []string{}
	}
	return json.Marshal(struct {
		Call  string   `json:"call"`
		UUID  string   `json:"uuid"`
		Notes []string `json:"notes"`
		Steps []step   `json:"steps"`
	}{p.Call, p.UUID, notes, steps})
}

// Run performs the plan. It prints each step before it begins, and stops at
// the first that fails; running the command again goes on from there.
func (p *Plan) Run(ctx context.Context, h *Host) error {
	for _, n := range p.Notes {
		h.say("# %s", n)
	}
	for i, s := range p.Steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("pool %s: stopped before step %d (%s): %w; run the same command again to go on", p.Call, i+1, s.Name, err)
		}
		h.say("[%d/%d] %s", i+1, len(p.Steps), s.Why)
		point := "setup." + p.Call + "." + s.Name
		failpoint.Hit(point + ".before")
		if err := s.Action.do(ctx, h); err != nil {
			return fmt.Errorf("pool %s, step %d of %d, %s: %w; nothing after it was done; mend the cause and run the same command again",
				p.Call, i+1, len(p.Steps), s.Name, err)
		}
		failpoint.Hit(point + ".after")
	}
	return nil
}

// quote writes an argument vector as a shell would take it.
func quote(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`*?[](){}<>|&;#~!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words[i] = a
	}
	return strings.Join(words, " ")
}
