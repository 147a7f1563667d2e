package arrows

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDependenciesAreExplained holds docs/dependencies.md against go.mod, both
// ways: each direct dependency has a row with its purpose and what was
// considered instead, and no row outlives its dependency.
func TestDependenciesAreExplained(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := rows(string(text))
	for _, r := range mod.Require {
		if r.Indirect {
			continue
		}
		cells, ok := explained[r.Path]
		if !ok {
			t.Errorf("%s is a direct dependency without a row in docs/dependencies.md", r.Path)
			continue
		}
		if len(cells) != 3 || len(cells[1]) < 5 || len(cells[2]) < 4 {
			t.Errorf("the row of %s says too little: %q", r.Path, cells)
		}
		delete(explained, r.Path)
	}
	for path := range explained {
		t.Errorf("docs/dependencies.md explains %s, which is no direct dependency", path)
	}
}

// rows reads the table: first cell → cells.
func rows(markdown string) map[string][]string {
	table := map[string][]string{}
	for _, line := range strings.Split(markdown, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| module") {
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "| "), " | ") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		table[cells[0]] = cells
	}
	return table
}
