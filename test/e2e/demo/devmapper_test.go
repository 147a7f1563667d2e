package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/varve-project/varve/test/built"
)

// TestOnDevmapper tells the whole story with root file systems on thin
// devices. It runs in a virtual machine whose /dev/vda is its own to wipe.
func TestOnDevmapper(t *testing.T) {
	if _, err := os.Stat("/sys/class/misc/device-mapper"); err != nil {
		t.Skip("kernel lacks: device-mapper")
	}
	if _, err := os.Stat("/dev/vda"); err != nil {
		t.Fatal("no /dev/vda; run it by test/vm, with a disk")
	}
	bin := filepath.Dir(built.Path(t, "varve-devmapper"))
	data := t.TempDir()
	images := filepath.Join(data, "images")
	if err := os.CopyFS(images, os.DirFS("../../../build/images")); err != nil {
		t.Fatalf("%v; a virtual machine has no network to make images with: `go run ./test/e2e/demo -prepare` first", err)
	}
	if out, err := exec.Command(built.Path(t, "varve-devmapper"), "pool", "create", "--device", "/dev/vda", "--write-config").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// A compiler would take minutes here: this test's own binary is the demo.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-snapshotter", "devmapper", "-bin", bin, "-runc", built.Peer(t, "runc"), "-build", data)
	cmd.Env = append(os.Environ(), "VARVE_TEST_DEMO=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.HasSuffix(bytes.TrimSpace(out), []byte("leaked: 0")) {
		t.Errorf("%v:\n%s", err, out)
	}
}
