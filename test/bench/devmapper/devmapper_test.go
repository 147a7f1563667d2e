package devmapper_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/test/bench/devmapper"
	"github.com/varve-project/varve/test/bench/result"
	"github.com/varve-project/varve/test/built"
)

// The harness runs from end to end in the virtual machine that it boots; what
// it measures is nobody's gate.
func TestRuns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	bin := filepath.Dir(built.Path(t, "varve-devmapper"))
	dir := t.TempDir()
	program := filepath.Join(dir, "bench-devmapper")
	build := exec.Command("go", "build", "-o", program, "../cmd/bench-devmapper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results := filepath.Join(dir, "results")
	out, err := exec.Command(program, "-part", "10", "-rounds", "1", "-only", "calls",
		"-note", "a test", "-bin", bin, "-results", results, "-timeout", "8m").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := result.Read(results)
	if err != nil || len(files) != 1 {
		t.Fatalf("results: %v, %v", files, err)
	}
	if got, want := len(files[0].Rows), 5*2; got != want { // five calls, two percentiles
		t.Errorf("%d rows, want %d", got, want)
	}
	for _, row := range files[0].Rows {
		if row.Ratio <= 0 {
			t.Errorf("%s: ratio %v", row.Name, row.Ratio)
		}
	}
	if note := files[0].Rows[0].Note; !strings.Contains(note, "a test") || !strings.Contains(note, "machine") {
		t.Errorf("the note says neither where it ran nor what it was told: %q", note)
	}
	if !bytes.Contains(out, []byte("RATIO")) {
		t.Errorf("no table was printed: %s", out)
	}
}

func TestOptions(t *testing.T) {
	good := devmapper.Options{Rounds: 1, Part: 1, Timeout: 1}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for flag, spoil := range map[string]func(*devmapper.Options){
		"-rounds":  func(o *devmapper.Options) { o.Rounds = 0 },
		"-part":    func(o *devmapper.Options) { o.Part = 0 },
		"-timeout": func(o *devmapper.Options) { o.Timeout = -1 },
	} {
		o := good
		spoil(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
