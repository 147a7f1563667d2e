package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/runtime/config"
)

// script writes an executable that stands in for somebody else's program.
func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// network is a suite that is up, with a network of one plug-in, called
// "probe", that answers STATUS by the given script.
func network(t *testing.T, status string) config.Config {
	t.Helper()
	c := suite(t)
	serve(t, c.CSISocket(), serving, func(s *grpc.Server) { csi.RegisterIdentityServer(s, identity{name: "csi.varve.dev"}) })
	bin := filepath.Join(filepath.Dir(c.Root), "bin")
	c.CNIConfDir, c.CNIBinDirs = filepath.Join(filepath.Dir(c.Root), "net.d"), []string{bin}
	mustRun(t, "mkdir "+bin+" "+c.CNIConfDir)
	conf := `{"cniVersion": "1.1.0", "name": "varve", "plugins": [{"type": "probe"}]}`
	if err := os.WriteFile(filepath.Join(c.CNIConfDir, "10-varve.conflist"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	script(t, filepath.Join(bin, "probe"), `case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}' ;;
STATUS) `+status+` ;;
*) exit 1 ;;
esac
`)
	return c
}

func TestCNISound(t *testing.T) {
	for _, f := range run(t, network(t, "exit 0")) {
		if strings.HasPrefix(f.ID, "cni.") {
			t.Errorf("%s: %s", f.ID, f.Text)
		}
	}
}

func TestCNIStatus(t *testing.T) {
	c := network(t, `echo '{"code": 50, "msg": "no bridge", "details": "forward drops"}'; exit 1`)
	f := want(t, c, "cni.status.unavailable", "varve")
	if !strings.Contains(f.Text, "no bridge") || !strings.Contains(f.Text, "forward drops") {
		t.Errorf("the plug-in's own words are lost: %s", f.Text)
	}
}

func TestCNIBinary(t *testing.T) {
	c := network(t, "exit 0")
	path := filepath.Join(c.CNIBinDirs[0], "probe")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	mend(t, c, want(t, c, "cni.binary.not-executable", path))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want(t, c, "cni.binary.missing", "probe")
}

func TestCNIConf(t *testing.T) {
	c := network(t, "exit 0")
	path := filepath.Join(c.CNIConfDir, "10-varve.conflist")
	c.Network = "other"
	want(t, c, "cni.config.missing", c.CNIConfDir)
	c.Network = "varve"
	if err := os.WriteFile(path, []byte(`{"name": "varve", "plugins": [}`), 0o600); err != nil {
		t.Fatal(err)
	}
	list := run(t, c)
	wantIn(t, list, "cni.config.broken", path)
	wantIn(t, list, "cni.config.missing", c.CNIConfDir)
}

// Where the folder of the whole system has the network, it is the one used.
func TestCNISystemConf(t *testing.T) {
	c := network(t, "exit 0")
	mustRun(t, "rm -rf /etc/cni && mkdir -p /etc/cni && mv "+c.CNIConfDir+" /etc/cni/net.d")
	t.Cleanup(func() { _ = os.RemoveAll("/etc/cni") })
	c.CNIConfDir = ""
	absent(t, c, "cni.config.missing", "")
	mustRun(t, "rm /etc/cni/net.d/*")
	want(t, c, "cni.config.missing", filepath.Join(c.RuntimeRoot(), "cni", "net.d"))
}
