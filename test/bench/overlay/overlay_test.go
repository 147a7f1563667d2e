package overlay_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/varve-project/varve/test/bench/result"
	"github.com/varve-project/varve/test/built"
)

// The harness runs from end to end, on the built-in against itself; what it
// measures is nobody's gate.
func TestSelfCheckRuns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	bin := filepath.Dir(filepath.Dir(built.Peer(t, "containerd")))
	dir := t.TempDir()
	program := filepath.Join(dir, "bench-overlay")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/bench-overlay").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results := filepath.Join(dir, "results")
	cmd := exec.Command(program, "-self-check", "-quick", "-rounds", "1", "-only", "1 client",
		"-bin", bin, "-dir", filepath.Join(dir, "data"), "-results", results)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := result.Read(results)
	if err != nil || len(files) != 1 {
		t.Fatalf("results: %v, %v", files, err)
	}
	// Five operations, two percentiles, against two peers through containerd
	// and one straight.
	if got, want := len(files[0].Rows), 5*2*3; got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
	for _, row := range files[0].Rows {
		if row.Ratio <= 0 {
			t.Errorf("%s: ratio %v", row.Name, row.Ratio)
		}
	}
	if !bytes.Contains(out, []byte("RATIO")) {
		t.Errorf("no table was printed: %s", out)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "data")); len(left) > 0 {
		t.Errorf("the data is still there: %v %v", left, err)
	}
}
