package deploy_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeIn runs a target against a folder in place of the machine's root.
func makeIn(t *testing.T, dir, target string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "-C", root, "--no-print-directory", target, "DESTDIR="+dir, "PREFIX=/usr")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", target, err, out)
	}
}

// files lists what lies below dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestInstallAndUninstall: what install puts down is complete and starts what
// it installed; uninstall takes all of it away, and nothing that a person
// changed.
func TestInstallAndUninstall(t *testing.T) {
	dir := t.TempDir()
	makeIn(t, dir, "install")
	got := files(t, dir)
	for _, want := range []string{
		"/usr/bin/varve", "/usr/bin/varve-overlay", "/usr/bin/varve-devmapper", "/usr/bin/varve-csi", "/opt/cni/bin/varve-cni",
		"/etc/cni/net.d/10-varve.conflist", "/lib/systemd/system/varve-overlay.socket", "/lib/systemd/system/varve-devmapper.socket", "/lib/systemd/system/varve-csi.socket",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s was not installed", want)
		}
	}
	for _, path := range got {
		if filepath.Ext(path) != ".service" {
			continue
		}
		start := unit(t, filepath.Join(dir, path))["Service"]["ExecStart"][0]
		if _, err := os.Stat(filepath.Join(dir, strings.Fields(start)[0])); err != nil {
			t.Errorf("%s starts what was not installed: %v", path, err)
		}
	}

	conflist := filepath.Join(dir, "/etc/cni/net.d/10-varve.conflist")
	if err := os.WriteFile(conflist, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	makeIn(t, dir, "install")
	makeIn(t, dir, "uninstall")
	if text, err := os.ReadFile(conflist); err != nil || string(text) != "{}" {
		t.Errorf("the edited network configuration was not left alone: %v %q", err, text)
	}
	if err := os.Remove(conflist); err != nil {
		t.Fatal(err)
	}
	makeIn(t, dir, "install")
	makeIn(t, dir, "uninstall")
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
