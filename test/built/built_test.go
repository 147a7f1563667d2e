package built_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/test/built"
)

func TestPathRunsOurCommand(t *testing.T) {
	out, err := exec.Command(built.Path(t, "varve-overlay"), "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "varve-overlay ") {
		t.Errorf("%v: %q", err, out)
	}
}

func TestFailpointIsAnotherBuild(t *testing.T) {
	plain, armed := built.Path(t, "varve-overlay"), built.Failpoint(t, "varve-overlay")
	if plain == armed {
		t.Fatalf("both are %s", plain)
	}
	for path, want := range map[string]bool{plain: false, armed: true} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(text, []byte("VARVE_FAILPOINT_LOG")); got != want {
			t.Errorf("%s reads VARVE_FAILPOINT_LOG: %v, want %v", path, got, want)
		}
	}
}

// Several test processes build at once and all get a whole program.
func TestParallelProcesses(t *testing.T) {
	var all []*exec.Cmd
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPathRunsOurCommand$", "-test.count=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// recorder stands in for a test that is failed by the package.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}
func (r *recorder) Fatal(args ...any) {
	r.failure = args[0].(error).Error()
	panic(r)
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = format
	panic(r)
}

func failure(t *testing.T, do func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() { _ = recover() }()
		do(r)
	}()
	return r.failure
}

func TestFoldersFromTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "varve-prebuilt")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(built.BinVariable, dir)
	if got := built.Path(t, "varve-prebuilt"); got != program {
		t.Errorf("got %s, want %s", got, program)
	}
	if got := failure(t, func(tb testing.TB) { built.Path(tb, "varve-absent") }); !strings.Contains(got, built.BinVariable) {
		t.Errorf("a missing program: %q", got)
	}
	t.Setenv(built.PeersVariable, dir)
	if got := built.Peer(t, "varve-prebuilt"); got != program {
		t.Errorf("got %s, want %s", got, program)
	}
	if got := failure(t, func(tb testing.TB) { built.Peer(tb, "absent") }); !strings.Contains(got, "make peers") {
		t.Errorf("a missing peer: %q", got)
	}
}

func TestBrokenCommandFailsTheTest(t *testing.T) {
	t.Setenv(built.BinVariable, "")
	if got := failure(t, func(tb testing.TB) { built.Path(tb, "no-such-command") }); !strings.Contains(got, "no-such-command") {
		t.Errorf("got %q", got)
	}
}
