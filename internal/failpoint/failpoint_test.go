package failpoint_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build makes testdata/hits with the given tags: a point that ends its
// process can only be watched from another one.
func build(t *testing.T, tags string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "hits")
	out, err := exec.Command("go", "build", "-tags", tags, "-o", bin, "./testdata/hits").CombinedOutput()
	if err != nil {
		t.Fatalf("go build -tags %q: %v\n%s", tags, err, out)
	}
	return bin
}

var withPoints = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "failpoint-test")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "hits")
	out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", bin, "./testdata/hits").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := withPoints(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// hits prepares a run of the program built with points.
func hits(t *testing.T, env []string, names ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	bin, err := withPoints()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, names...)
	cmd.Env = append(os.Environ(), env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	return cmd, &out, &stderr
}

func wantOutput(t *testing.T, got *bytes.Buffer, names ...string) {
	t.Helper()
	if want := strings.Join(names, "\n"); strings.TrimSpace(got.String()) != want {
		t.Errorf("got past %q, want %q", got, want)
	}
}

func TestOrdinaryBuildIgnoresTheEnvironment(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(build(t, ""), "a", "b")
	cmd.Env = append(os.Environ(), "VARVE_FAILPOINT=a=kill", "VARVE_FAILPOINT_LOG="+log)
	out, err := cmd.Output()
	if err != nil || string(out) != "ordinary build\na\nb\n" {
		t.Fatalf("output %q, %v", out, err)
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("an ordinary build wrote a log")
	}
}

func TestNoEnvironment(t *testing.T) {
	cmd, out, _ := hits(t, nil, "a", "b")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	wantOutput(t, out, "a", "b")
}

func TestKill(t *testing.T) {
	for spec, past := range map[string][]string{
		"b=kill":   {"a"},
		"b=kill@1": {"a"},
		"b=kill@2": {"a", "b", "a"},
		"b=kill@3": {"a", "b", "a", "b", "c"},
	} {
		cmd, out, _ := hits(t, []string{"VARVE_FAILPOINT=" + spec}, "a", "b", "a", "b", "c")
		err := cmd.Run()
		wantOutput(t, out, past...)
		if spec == "b=kill@3" {
			if err != nil {
				t.Errorf("%s: two hits ended the process: %v", spec, err)
			}
			continue
		}
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !status.Signaled() || status.Signal() != syscall.SIGKILL {
			t.Errorf("%s: ended by %v, want SIGKILL", spec, err)
		}
	}
}

func TestStop(t *testing.T) {
	cmd, out, _ := hits(t, []string{"VARVE_FAILPOINT=b=stop"}, "a", "b", "c")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil {
		t.Fatal(err)
	}
	if !status.Stopped() || status.StopSignal() != syscall.SIGSTOP {
		_ = cmd.Process.Kill()
		t.Fatalf("state %v, want stopped by SIGSTOP", status)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	wantOutput(t, out, "a", "b", "c")
}

func TestSleep(t *testing.T) {
	cmd, out, _ := hits(t, []string{"VARVE_FAILPOINT=b=sleep:150ms@2"}, "a", "b", "b", "b")
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 150*time.Millisecond {
		t.Errorf("took %v; it did not sleep", took)
	}
	wantOutput(t, out, "a", "b", "b", "b")
}

// Several processes share one log: a call may run through more than one.
func TestLogAppends(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, names := range [][]string{{"a", "b", "a"}, {"c"}} {
		cmd, _, _ := hits(t, []string{"VARVE_FAILPOINT_LOG=" + log}, names...)
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(log)
	if err != nil || string(got) != "a\nb\na\nc\n" {
		t.Fatalf("log %q, %v", got, err)
	}
}

// The killing hit is in the log: that is how the harness knows that it died
// where it was told to.
func TestLogHoldsTheLastHit(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	cmd, _, _ := hits(t, []string{"VARVE_FAILPOINT_LOG=" + log, "VARVE_FAILPOINT=b=kill"}, "a", "b", "c")
	_ = cmd.Run()
	got, err := os.ReadFile(log)
	if err != nil || string(got) != "a\nb\n" {
		t.Fatalf("log %q, %v", got, err)
	}
}

// What cannot be understood ends the process at its first hit, also when the
// point that it names is never reached.
func TestBadEnvironment(t *testing.T) {
	for _, env := range []string{
		"VARVE_FAILPOINT=never", "VARVE_FAILPOINT==kill", "VARVE_FAILPOINT=never=",
		"VARVE_FAILPOINT=never=klil", "VARVE_FAILPOINT=never=kill@0", "VARVE_FAILPOINT=never=kill@x",
		"VARVE_FAILPOINT=never=kill@", "VARVE_FAILPOINT=never=sleep:soon", "VARVE_FAILPOINT=never=sleep",
		"VARVE_FAILPOINT=never=sleep:-1s", "VARVE_FAILPOINT_LOG=/nonexistent/folder/log",
	} {
		cmd, out, stderr := hits(t, []string{env}, "a")
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 2 {
			t.Errorf("%s: exit %d, want 2", env, code)
		}
		wantOutput(t, out)
		_, value, _ := strings.Cut(env, "=")
		if !strings.Contains(stderr.String(), value) {
			t.Errorf("%s: the message does not name the value: %s", env, stderr)
		}
	}
}
