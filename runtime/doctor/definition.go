package doctor

import (
	"fmt"
	"sort"
	"strings"

	"github.com/varve-project/varve/internal/finding"
)

// Definition is one kind of finding. The texts hold placeholders in braces:
// {object} is the thing concerned, {varve} the command line of this suite, and
// the rest is named by the check that found it. docs/doctor.md is printed from
// the definitions.
type Definition struct {
	// ID is stable: programs and people search for it.
	ID string
	// Severity is fixed per kind, so that a monitor can count on it.
	Severity finding.Severity
	// Text says what is the case.
	Text string
	// Meaning says what follows, with the words that other tools use for it.
	Meaning string
	// Remedy says what to do; Command does it where one command can.
	Remedy  string
	Command string
	// Orphan marks what belongs to nothing: `varve doctor --fix` runs its
	// Command.
	Orphan bool
}

var registry = map[string]Definition{}

// define enters a kind of finding into the registry.
func define(d Definition) Definition {
	if _, taken := registry[d.ID]; taken {
		panic("doctor: two definitions of " + d.ID)
	}
	registry[d.ID] = d
	return d
}

// Definitions lists every kind of finding of this package, ordered by id.
func Definitions() []Definition {
	list := make([]Definition, 0, len(registry))
	for _, d := range registry {
		list = append(list, d)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}

// found makes a finding of kind d about object. values are pairs of a
// placeholder's name and its value; in the command every value is one quoted
// word, save that of a name with a "*" before it, which holds one word a line.
func (n *node) found(d Definition, object string, values ...string) finding.Finding {
	values = append(values, "object", object)
	plain := []string{"{varve}", n.varve()}
	quoted := []string{"{varve}", n.varve()}
	for i := 0; i+1 < len(values); i += 2 {
		key, isList := strings.CutPrefix(values[i], "*")
		words := []string{values[i+1]}
		if isList {
			words = strings.Split(values[i+1], "\n")
		}
		plain = append(plain, "{"+key+"}", strings.Join(words, " "))
		for j := range words {
			words[j] = shellQuote(words[j])
		}
		quoted = append(quoted, "{"+key+"}", strings.Join(words, " "))
	}
	text := strings.NewReplacer(plain...)
	return finding.Finding{
		ID: d.ID, Severity: d.Severity, Object: object,
		Text: text.Replace(d.Text), Meaning: text.Replace(d.Meaning), Remedy: text.Replace(d.Remedy),
		Command: strings.NewReplacer(quoted...).Replace(d.Command), Orphan: d.Orphan,
	}
}

// shellQuote makes s one word of a shell's command line.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Markdown prints the definitions as the body of docs/doctor.md.
func Markdown() string {
	var b strings.Builder
	for _, d := range Definitions() {
		fmt.Fprintf(&b, "\n### %s\n\n**%s.** %s\n", d.ID, d.Severity, d.Text)
		for _, p := range []struct{ label, text string }{
			{"", d.Meaning}, {"Remedy: ", d.Remedy},
		} {
			if p.text != "" {
				fmt.Fprintf(&b, "\n%s%s\n", p.label, p.text)
			}
		}
		if d.Command != "" {
			fmt.Fprintf(&b, "\n    %s\n", d.Command)
		}
		if d.Orphan {
			b.WriteString("\nAn orphan: `varve doctor --fix` runs this command.\n")
		}
	}
	return b.String()
}
