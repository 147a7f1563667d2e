package doctor_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/doctor"
)

var update = flag.Bool("update", false, "write docs/doctor.md anew")

const (
	page = "../../docs/doctor.md"
	mark = "<!-- What follows is printed from runtime/doctor: go test ./runtime/doctor -run TestPage -update -->\n"
)

// The page that people search is what the code says.
func TestPage(t *testing.T) {
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), mark)
	if !ok {
		t.Fatalf("%s has lost its line %q", page, mark)
	}
	if *update {
		if err := os.WriteFile(page, []byte(head+mark+doctor.Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if rest != doctor.Markdown() {
		t.Errorf("%s is out of date; write it anew:\n\tgo test ./runtime/doctor -run TestPage -update", page)
	}
}

func TestDefinitions(t *testing.T) {
	id := regexp.MustCompile(`^[a-z]+(\.[a-z0-9]+(-[a-z0-9]+)*){2}$`)
	for _, d := range doctor.Definitions() {
		if !id.MatchString(d.ID) {
			t.Errorf("id %q: want part.subject.fault in lower case with hyphens", d.ID)
		}
		switch d.Severity {
		case finding.Error, finding.Warning, finding.Info:
		default:
			t.Errorf("%s: severity %q", d.ID, d.Severity)
		}
		for name, text := range map[string]string{"text": d.Text, "meaning": d.Meaning, "remedy": d.Remedy} {
			if text == "" {
				t.Errorf("%s has no %s", d.ID, name)
			}
		}
		if d.Orphan && d.Command == "" {
			t.Errorf("%s: an orphan without a command", d.ID)
		}
	}
}
