package doctor_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/test/built"
)

// realSuite is a suite with the project's own daemons, started by `varve up`.
func realSuite(t *testing.T) config.Config {
	t.Helper()
	c := suite(t)
	bin := filepath.Dir(built.Path(t, "varve"))
	for _, name := range []string{"varve-overlay", "varve-csi", "varve-cni"} {
		built.Path(t, name)
	}
	c.CNIBinDirs, c.OCIRuntime = []string{bin}, built.Peer(t, "runc")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	varve(t, c, 0, "up")
	t.Cleanup(func() { varve(t, c, 0, "down", "--force") })
	return c
}

// varve runs the command line on a suite and returns its two streams.
func varve(t *testing.T, c config.Config, exit int, args ...string) (stdout, stderr string) {
	t.Helper()
	base := []string{"--root", c.Root, "--state", c.State, "--oci-runtime", c.OCIRuntime}
	cmd := exec.Command(built.Path(t, "varve"), append(base, args...)...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != exit {
		t.Fatalf("varve %s: exit %d, want %d:\n%s%s", strings.Join(args, " "), got, exit, out.String(), errOut.String())
	}
	return out.String(), errOut.String()
}

func quiet(t *testing.T, c config.Config) {
	t.Helper()
	for _, f := range run(t, c) {
		// The machine's disk and its cgroups are everybody's.
		if f.Severity == finding.Info || strings.HasPrefix(f.ID, "node.disk.") || f.ID == "runtime.cgroup.orphan" {
			continue
		}
		t.Errorf("found on a sound node: %s %s: %s", f.ID, f.Object, f.Text)
	}
}

// pidOf is a daemon's process.
func pidOf(t *testing.T, c config.Config, name string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.State, name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(data))[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestRealSuite(t *testing.T) {
	c := realSuite(t)
	quiet(t, c)

	// containerd's drop-in as `varve-overlay stanza` prints it.
	mustRun(t, "mkdir -p "+filepath.Dir(dropin)+" && cat >"+mainConfig+" <<'E'\n"+importing+"E\n"+
		"varve-overlay stanza --root "+c.Root+"/overlay --address "+c.SnapshotterSocket()+" >"+dropin)
	t.Cleanup(func() { _ = os.RemoveAll("/etc/containerd") })
	quiet(t, c)

	if err := syscall.Kill(pidOf(t, c, "overlay"), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	want(t, c, "runtime.daemon.not-serving", c.SnapshotterSocket())
	if err := syscall.Kill(pidOf(t, c, "overlay"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the daemon is gone", func() bool {
		_, err := net.Dial("unix", c.SnapshotterSocket())
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	mend(t, c, want(t, c, "runtime.socket.dead", c.SnapshotterSocket()))

	if err := os.Remove(c.CSISocket()); err != nil {
		t.Fatal(err)
	}
	want(t, c, "runtime.daemon.down", c.CSISocket())
	varve(t, c, 0, "down")
	varve(t, c, 0, "up")
	quiet(t, c)
	varve(t, c, 0, "down")
	want(t, c, "runtime.suite.down", "")
	quiet(t, c)
}

// The command line: what it prints, what it exits with, what --fix touches.
func TestCommand(t *testing.T) {
	c := realSuite(t)
	orphaned := filepath.Join(c.RuntimeState(), "pods", orphan)
	mustRun(t, "mkdir -p "+orphaned+" && mount -t tmpfs tmpfs "+orphaned)
	t.Cleanup(func() { mustRun(t, "umount -q -l "+orphaned+" || true") })

	var list finding.List
	out, _ := varve(t, c, 0, "doctor", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	f := wantIn(t, list, "runtime.mount.orphan", orphaned)

	out, _ = varve(t, c, 0, "doctor")
	for _, text := range []string{f.ID, f.Text, f.Meaning, f.Command, "`varve doctor --fix`"} {
		if !strings.Contains(out, text) {
			t.Errorf("the text lacks %q:\n%s", text, out)
		}
	}
	_, said := varve(t, c, 0, "doctor", "--fix", "--dry-run")
	if _, err := os.Stat(orphaned); err != nil || !strings.Contains(said, f.Command) {
		t.Errorf("--dry-run: %v; it printed %q, want %q", err, said, f.Command)
	}

	// An error that is nobody's orphan stays, and so does its cause.
	if err := os.Chmod(c.CSISocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	out, said = varve(t, c, 1, "doctor", "--fix")
	if _, err := os.Stat(orphaned); err == nil || !strings.Contains(said, f.Command) {
		t.Errorf("--fix left the orphan; it printed %q", said)
	}
	if info, err := os.Stat(c.CSISocket()); err != nil || info.Mode().Perm() != 0o666 || !strings.Contains(out, "runtime.socket.exposed") {
		t.Errorf("--fix changed what is no orphan, or keeps silent about it:\n%s", out)
	}
	mend(t, c, want(t, c, "runtime.socket.exposed", c.CSISocket()))
	varve(t, c, 0, "doctor")
	varve(t, c, 2, "doctor", "--dry-run")
	varve(t, c, 2, "doctor", "extra")
}
