package doctor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/config"
)

const (
	mainConfig = "/etc/containerd/config.toml"
	dropin     = "/etc/containerd/conf.d/varve.toml"
	importing  = "version = 3\nimports = [\"conf.d/*.toml\"]\n"
)

// beside is a suite whose plug-in varve-overlay offers rebase, on a node with
// the given configuration of containerd.
func beside(t *testing.T, main, drop string) config.Config {
	t.Helper()
	c := suite(t)
	bin := filepath.Join(filepath.Dir(c.Root), "bin")
	mustRun(t, "mkdir "+bin+"; mkdir -p /etc/containerd/conf.d")
	t.Cleanup(func() { _ = os.RemoveAll("/etc/containerd") })
	c.CNIBinDirs = []string{bin}
	script(t, filepath.Join(bin, "varve-overlay"), `case $1 in
doctor) echo '[]' ;;
stanza) echo '[proxy_plugins.varve-overlay]'
        echo 'type = "snapshot"'
        echo 'capabilities = ["rebase"]' ;;
esac
`)
	for path, text := range map[string]string{mainConfig: main, dropin: drop} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func stanza(address, kind, capabilities string) string {
	return fmt.Sprintf("[proxy_plugins.varve-overlay]\ntype = %q\naddress = %q\ncapabilities = [%s]\n", kind, address, capabilities)
}

func ofContainerd(list finding.List) []string {
	var ids []string
	for _, f := range list {
		if len(f.ID) > 11 && f.ID[:11] == "containerd." {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

func TestContainerdAbsent(t *testing.T) {
	if ids := ofContainerd(run(t, beside(t, "", ""))); len(ids) > 0 {
		t.Errorf("found %q on a node without a configuration", ids)
	}
}

func TestContainerdSound(t *testing.T) {
	c := beside(t, importing, "")
	if err := os.WriteFile(dropin, []byte(stanza(c.SnapshotterSocket(), "snapshot", `"rebase"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids := ofContainerd(run(t, c)); len(ids) > 0 {
		t.Errorf("found %q on a sound node", ids)
	}
}

// A drop-in that nothing imports is not read, and containerd says nothing.
func TestDropinIgnored(t *testing.T) {
	drop := stanza("/run/varve/overlay.sock", "snapshot", `"rebase"`)
	for _, main := range []string{"", "version = 3\n", "version = 3\nimports = [\"/etc/containerd/other/*.toml\"]\n"} {
		c := beside(t, main, drop)
		want(t, c, "containerd.dropin.ignored", dropin)
		absent(t, c, "containerd.stanza.address", "")
	}
}

func TestContainerdBroken(t *testing.T) {
	want(t, beside(t, "version = \n", ""), "containerd.config.broken", mainConfig)
	want(t, beside(t, importing, "[proxy_plugins\n"), "containerd.config.broken", dropin)
	want(t, beside(t, "imports = [\"/nowhere.toml\"]\n", ""), "containerd.config.broken", "/nowhere.toml")
}

func TestStanza(t *testing.T) {
	c := beside(t, importing, stanza("/nowhere.sock", "snapshot", `"rebase"`))
	want(t, c, "containerd.stanza.address", dropin)

	// Another suite's plug-in, which serves, is no fault of this one's.
	other := suite(t)
	serve(t, other.SnapshotterSocket(), serving, nil)
	c = beside(t, importing, stanza(other.SnapshotterSocket(), "snapshot", `"rebase"`))
	absent(t, c, "containerd.stanza.address", "")

	for _, k := range []struct{ kind, capabilities, id string }{
		{"content", `"rebase"`, "containerd.stanza.type"},
		{"snapshot", `"rebase", "remap-ids"`, "containerd.stanza.capability-untrue"},
		{"snapshot", ``, "containerd.stanza.capability-missing"},
	} {
		c = beside(t, importing, "")
		text := stanza(c.SnapshotterSocket(), k.kind, k.capabilities)
		if err := os.WriteFile(dropin, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list := run(t, c)
		wantIn(t, list, k.id, dropin)
		if ids := ofContainerd(list); len(ids) != 1 {
			t.Errorf("found %q, want %s alone", ids, k.id)
		}
	}
}

func TestBinaryMissing(t *testing.T) {
	c := suite(t)
	c.CNIBinDirs = []string{t.TempDir()}
	t.Setenv("PATH", "/usr/bin:/bin")
	want(t, c, "runtime.binary.missing", "varve-overlay")
	want(t, c, "runtime.binary.missing", "varve-csi")
}

// A daemon's own doctor that fails, or that talks nonsense, is said to.
func TestDaemonsDoctor(t *testing.T) {
	c := beside(t, "", "")
	for _, text := range []string{"echo no such root >&2; exit 1", "echo hello"} {
		script(t, filepath.Join(c.CNIBinDirs[0], "varve-overlay"), text)
		want(t, c, "runtime.doctor.failed", "daemons")
	}
	script(t, filepath.Join(c.CNIBinDirs[0], "varve-overlay"), `test "$3" = json || exit 1
echo '[{"id": "overlay.snapshot.orphan", "severity": "warning", "object": "'"$*"'", "text": "t"}]'`)
	f := want(t, c, "overlay.snapshot.orphan", "")
	if want := "doctor -o json --root " + c.Root + "/overlay --address " + c.SnapshotterSocket(); f.Object != want {
		t.Errorf("it was called with %q, want %q", f.Object, want)
	}
}
