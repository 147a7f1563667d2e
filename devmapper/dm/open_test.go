package dm_test

import (
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
)

// Where the kernel has no device-mapper, Open says so, what to do, and leaves
// no node behind; where it has, it tells its version.
func TestOpen(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const node = "/dev/mapper/control"
	_, before := os.Lstat(node)
	c, err := dm.Open()
	if err == nil {
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		if v, err := c.Version(); err != nil || v.Major != 4 {
			t.Errorf("version %s, %v", v, err)
		}
		return
	}
	if !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "modprobe dm_mod") {
		t.Errorf("%v: want a NotImplemented with its remedy", err)
	}
	if _, after := os.Lstat(node); (before == nil) != (after == nil) {
		t.Errorf("%s: before %v, after %v", node, before, after)
	}
}
