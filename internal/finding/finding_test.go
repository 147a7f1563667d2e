package finding_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/varve-project/varve/internal/finding"
)

func TestSortIsWorstFirstAndStable(t *testing.T) {
	list := finding.List{
		{ID: "b.b", Severity: finding.Info, Object: "x"},
		{ID: "b.b", Severity: finding.Warning, Object: "y"},
		{ID: "b.b", Severity: finding.Warning, Object: "x"},
		{ID: "a.a", Severity: finding.Warning, Object: "z"},
		{ID: "z.z", Severity: finding.Error, Object: "x", Text: "first"},
		{ID: "z.z", Severity: finding.Error, Object: "x", Text: "second"},
	}
	list.Sort()
	var got []string
	for _, f := range list {
		got = append(got, string(f.Severity)+" "+f.ID+" "+f.Object+" "+f.Text)
	}
	want := []string{
		"error z.z x first", "error z.z x second",
		"warning a.a z ", "warning b.b x ", "warning b.b y ", "info b.b x ",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("order\n%q, want\n%q", got, want)
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		in   []finding.Severity
		want finding.Severity
	}{
		{nil, ""},
		{[]finding.Severity{finding.Info}, finding.Info},
		{[]finding.Severity{finding.Info, finding.Warning, finding.Info}, finding.Warning},
		{[]finding.Severity{finding.Warning, finding.Info}, finding.Warning},
		{[]finding.Severity{finding.Info, finding.Error, finding.Warning}, finding.Error},
	} {
		var list finding.List
		for _, s := range c.in {
			list = append(list, finding.Finding{Severity: s})
		}
		if got := list.Worst(); got != c.want {
			t.Errorf("Worst(%v) = %q, want %q", c.in, got, c.want)
		}
	}
}

// The JSON form is a contract with programs outside the project.
func TestJSONForm(t *testing.T) {
	var out bytes.Buffer
	full := finding.List{{
		ID: "part.subject.fault", Severity: finding.Error, Object: "/a & <b>", Text: "t",
		Meaning: "m", Command: "c", Remedy: "r", Orphan: true,
	}}
	if err := full.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{
		"id": "part.subject.fault", "severity": "error", "object": "/a & <b>", "text": "t",
		"meaning": "m", "command": "c", "remedy": "r", "orphan": true,
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("JSON %v, want %v", got, want)
	}

	out.Reset()
	if err := (finding.List{{ID: "i", Severity: finding.Info, Text: "t"}}).WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"object", "meaning", "command", "remedy", "orphan"} {
		if strings.Contains(out.String(), key) {
			t.Errorf("an empty %s is printed: %s", key, out.String())
		}
	}
	for _, empty := range []finding.List{nil, {}} {
		out.Reset()
		if err := empty.WriteJSON(&out); err != nil || out.String() != "[]\n" {
			t.Errorf("empty list prints %q, %v; want []", out.String(), err)
		}
	}
}

func TestTextForm(t *testing.T) {
	var out bytes.Buffer
	list := finding.List{
		{ID: "a.b.c", Severity: finding.Warning, Object: "/x", Text: "Text.", Meaning: "Meaning.", Remedy: "Remedy.", Command: "true"},
		{ID: "d.e.f", Severity: finding.Info, Text: "Only text."},
	}
	if err := list.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	want := `warning a.b.c /x
        Text.
        meaning: Meaning.
        remedy:  Remedy.
        command: true
info    d.e.f
        Only text.
`
	if out.String() != want {
		t.Errorf("text\n%s, want\n%s", out.String(), want)
	}
	broken := errors.New("broken pipe")
	if err := list.WriteText(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("a write error is lost: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
