package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/test/built"
)

// varve runs the program with a root and a socket that are not there.
func varve(t *testing.T, dir string, args ...string) (out string, exit int) {
	t.Helper()
	cmd := exec.Command(built.Path(t, "varve-devmapper"), append(args, "--root", filepath.Join(dir, "root"), "--address", filepath.Join(dir, "s"))...)
	text, err := cmd.CombinedOutput()
	var e *exec.ExitError
	if err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// TestWithoutPool: a node that has the program and no pool can be asked all
// the same, and the daemon says what to do.
func TestWithoutPool(t *testing.T) {
	dir := t.TempDir()
	out, exit := varve(t, dir, "doctor", "-o", "json")
	var list finding.List
	if err := json.Unmarshal([]byte(out), &list); err != nil || exit != 0 {
		t.Fatalf("doctor: exit %d, %v\n%s", exit, err, out)
	}
	found := map[string]finding.Severity{}
	for _, f := range list {
		found[f.ID] = f.Severity
	}
	if found["devmapper.pool.none"] != finding.Info {
		t.Errorf("doctor finds %v", found)
	}
	out, exit = varve(t, dir, "stanza")
	if exit != 0 || !strings.Contains(out, "[proxy_plugins.varve-devmapper]") || strings.Contains(out, "rebase") {
		t.Errorf("stanza: exit %d\n%s", exit, out)
	}
	if out, exit = varve(t, dir); exit != 1 || !strings.Contains(out, "pool create") {
		t.Errorf("the daemon: exit %d\n%s", exit, out)
	}
	if out, exit = varve(t, dir, "audit"); exit == 0 || !strings.Contains(out, "start varve-devmapper") {
		t.Errorf("audit: exit %d\n%s", exit, out)
	}
}

func TestBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ text, want string }{
		{"file_system = \"ext2\"\n", "file_system"},
		{"base_size = \"ten\"\n", "ten"},
		{"base_size = \"1MiB\"\n", "base_size"},
		{"mount_options = [\"noload\"]\n", "noload"},
		{"[pool]\nvolume_group = \"v\"\ndata_device = \"/dev/x\"\nmetadata_device = \"/dev/y\"\n", "one pool only"},
		{"[pool]\ndata_device = \"/dev/x\"\n", "needs both"},
		{"[pool]\nloop_directory = \"/x\"\nqueue_for = \"soon\"\n", "queue_for"},
		{"[server]\ncall_timeout = \"0s\"\n", "call_timeout"},
	} {
		file := filepath.Join(dir, "c.toml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, exit := varve(t, dir, "config", "check", "--config", file); exit != 2 || !strings.Contains(out, c.want) {
			t.Errorf("%q: exit %d, want 2 and %q\n%s", c.text, exit, c.want, out)
		}
	}
}
