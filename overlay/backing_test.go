package overlay_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/overlay"
	"github.com/varve-project/varve/snapshotter/conformance"
)

// onBacking picks the cases in which the file system below plays a part.
var onBacking = []string{
	"usage", "cleanup gives", "rebase puts", "layers unpacked", "id mapping shifts", "max-size", "hard links",
	"extended attributes", "a directory made anew", "a layer's own overlay", "holes", "strange names", "special files",
}

// TestBackingFileSystems runs them on the other file systems that a node may
// have under its layers; the rest of the tests run on whatever /tmp is.
func TestBackingFileSystems(t *testing.T) {
	needsRoot(t)
	for _, kind := range []string{"xfs", "btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := mkfs(t, kind)
			conform(t, dir)
		})
	}
}

func picked(name string) bool {
	for _, prefix := range onBacking {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// mkfs mounts a fresh file system from a loop device until the test ends.
func mkfs(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	image, point := filepath.Join(dir, "image"), filepath.Join(dir, "point")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(1 << 30)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	quiet := map[string][]string{"xfs": {"-q"}, "btrfs": {"-q"}, "ext4": {"-q", "-F"}}
	for _, command := range [][]string{
		append(append([]string{"mkfs." + kind}, quiet[kind]...), image),
		{"mount", "-o", "loop", image, point},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", point).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return point
}

// conform runs the sampled conformance cases that the file system of dir
// chooses, each on a root of its own there.
func conform(t *testing.T, dir string) {
	t.Helper()
	able, err := overlay.Detect(dir, overlay.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conformance.Cases() {
		if !picked(c.Name) || c.When != nil && !c.When(able) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			root, err := os.MkdirTemp(dir, "root")
			if err != nil {
				t.Fatal(err)
			}
			c.Run(t, subject(t, root, nil))
		})
	}
}
