package manifest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGood parses what people write; the golden files show every default.
func TestGood(t *testing.T) {
	for _, path := range files(t, "good") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := Parse(f)
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.MarshalIndent(got, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".json", string(data)+"\n")
		})
	}
}

// TestBad shows the whole error of each wrong manifest.
func TestBad(t *testing.T) {
	for _, path := range files(t, "bad") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := Parse(f)
			if err == nil {
				t.Fatalf("parsed: %+v", got)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/%s: %v", dir, err)
	}
	return paths
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got: %s\nwant: %s", path, got, want)
	}
}

func TestTooLarge(t *testing.T) {
	_, err := Parse(strings.NewReader(strings.Repeat("#", MaxBytes+1)))
	if err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: no text may panic; what is accepted must be accepted again when
// printed, with the same outcome.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		paths, _ := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, p := range got.Pods {
			data, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse(strings.NewReader(string(data)))
			if err != nil {
				t.Fatalf("accepted, and refused when printed: %v\n%s", err, data)
			}
			data2, err := json.Marshal(again.Pods[0])
			if err != nil {
				t.Fatal(err)
			}
			if string(data) != string(data2) {
				t.Fatalf("not stable:\n%s\n%s", data, data2)
			}
		}
	})
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "x", "B": "$(A)", "EMPTY": ""}
	lookup := func(n string) (string, bool) { v, ok := vars[n]; return v, ok }
	for in, want := range map[string]string{
		"":            "",
		"plain":       "plain",
		"$(A)":        "x",
		"$(A)$(A)":    "xx",
		"$(B)":        "$(A)",
		"$(EMPTY)|":   "|",
		"$(NONE)":     "$(NONE)",
		"$$(A)":       "$(A)",
		"$$$(A)":      "$x",
		"$A ${A} $":   "$A ${A} $",
		"$(A":         "$(A",
		"a$(A)b$(A)c": "axbxc",
	} {
		if got := Expand(in, lookup); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}
