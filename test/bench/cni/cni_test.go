package cni_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/test/built"
)

// The harness runs from end to end over both sides; what it measures is
// nobody's gate.
func TestBothSides(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	peers := filepath.Dir(filepath.Dir(built.Peer(t, "cni/bridge")))
	for link, to := range map[string]string{"varve-cni": built.Path(t, "varve-cni"), "peers": peers} {
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(bin, link)); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "bench-cni")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/bench-cni").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results := filepath.Join(dir, "results")
	out, err := exec.Command(program, "-rounds", "1", "-pods", "1", "-bin", bin, "-dir", filepath.Join(dir, "data"), "-results", results).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "DEL p50, tcp and tcp, 8 at once") {
		t.Errorf("no table in:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(results, "cni.json")); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "data")); len(left) > 0 {
		t.Errorf("the data is still there: %v %v", left, err)
	}
}
