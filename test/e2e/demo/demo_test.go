package main_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/leak"
)

// demo is the demo as `make demo` runs it, with the programs under test. Its
// images stay in the repository's build folder.
func demo(t *testing.T) (cmd *exec.Cmd, data string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	bin := filepath.Dir(built.Path(t, "varve"))
	for _, name := range []string{"varve-overlay", "varve-cni", "varve-csi"} {
		built.Path(t, name)
	}
	build, err := filepath.Abs("../../../build")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exec.Command(program, "-bin", bin, "-runc", built.Peer(t, "runc"), "-build", build), filepath.Join(build, "demo")
}

func TestDemo(t *testing.T) {
	cmd, _ := demo(t)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if !bytes.HasSuffix(bytes.TrimSpace(out), []byte("leaked: 0")) {
		t.Errorf("it does not end with leaked: 0:\n%s", out)
	}
}

// Ctrl-C in the middle of it leaves nothing on the machine.
func TestInterruptedDemoCleansUp(t *testing.T) {
	cmd, data := demo(t)
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	leak.Check(t, leak.Scope{Paths: []string{data}})
	before, err := os.ReadDir(data)
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		// The web pod has been made, with a volume, and nothing removed.
		if strings.HasPrefix(lines.Text(), "== 4.") {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(text.String(), "cleaning up") {
		t.Errorf("exit %d:\n%s", code, text.String())
	}
	after, err := os.ReadDir(data)
	if err != nil || len(after) > len(before) {
		t.Errorf("folders before %v, after %v, %v", before, after, err)
	}
}
