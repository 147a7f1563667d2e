package podstart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/varve-project/varve/test/built"
)

// The harness runs from end to end over the peers; what it measures is
// nobody's gate.
func TestPeersStart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	bin := filepath.Dir(filepath.Dir(built.Peer(t, "runc")))
	dir := t.TempDir()
	program := filepath.Join(dir, "bench-runtime")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/bench-runtime").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program, "-peers-only", "-rounds", "1", "-starts", "1", "-bin", bin, "-dir", filepath.Join(dir, "data"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{`runc run \+ CNI ADD .* CNI ADD \d`, `ctr run --cni +first process after \d`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "data")); len(left) > 0 {
		t.Errorf("the data is still there: %v %v", left, err)
	}
}
