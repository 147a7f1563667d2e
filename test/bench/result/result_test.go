package result_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/test/bench/result"
)

func TestPercentile(t *testing.T) {
	values := []float64{9, 1, 5, 3, 7}
	for p, want := range map[float64]float64{50: 5, 99: 9, 20: 1, 21: 3} {
		if got := result.Percentile(values, p); got != want {
			t.Errorf("percentile %v of %v: %v, want %v", p, values, got, want)
		}
	}
	if got := result.Percentile([]float64{1, 2}, 50); got != 1.5 {
		t.Errorf("median of 1 and 2: %v", got)
	}
	if !math.IsNaN(result.Percentile(nil, 50)) {
		t.Error("nothing has a median")
	}
}

func TestCompare(t *testing.T) {
	r := result.Row{Ours: []float64{2, 30, 4}, Theirs: []float64{1, 10, 4}, Target: 1.5}.Compare()
	if r.Ratio != 2 || r.Low != 1 || r.High != 3 {
		t.Errorf("median of each round's ratio: %v %v %v, want 2 1 3", r.Ratio, r.Low, r.High)
	}
	if !r.Missed() {
		t.Error("2 is over 1.5")
	}
	if (result.Row{Ratio: 9}).Missed() {
		t.Error("a row without a target cannot miss it")
	}
}

func TestWrittenFilesAreReadAndShown(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		f, err := result.New(name, dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		row := result.Row{Name: "op", Peer: "p", Unit: "ms", Ours: []float64{3}, Theirs: []float64{1}, Target: 2, Note: "why"}
		f.Rows = []result.Row{row.Compare()}
		if err := f.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	files, err := result.Read(dir)
	if err != nil || len(files) != 2 || files[1].Rows[0].Ratio != 3 {
		t.Fatalf("%v %v", files, err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## one", "## two", "| op | p | 3 | 1 | ms | 3.00 | 3.00–3.00 | 2.00 | MISSED |", "- op: why"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	var terminal strings.Builder
	if err := files[0].Print(&terminal); err != nil || !strings.Contains(terminal.String(), "MISSED") {
		t.Errorf("%v: %s", err, terminal.String())
	}
}

func TestABrokenFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := result.Read(dir); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%v", err)
	}
}
