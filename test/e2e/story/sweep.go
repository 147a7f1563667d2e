package story

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/test/node"
)

// root is the suite's --root in a story's folder.
func root(dir string) string { return filepath.Join(dir, "varve") }

// Sweep takes away what a story in dir has left on the shared machine, however
// it ended: the kernel has ended its processes, mounts and namespaces with the
// node, but not its loop devices, cgroups and files.
func Sweep(dir string) error {
	err := detachLoops(dir)
	parent := config.Config{Root: root(dir)}.CgroupParent()
	err = errors.Join(err, node.RemoveCgroup(strings.TrimPrefix(parent, "/")))
	return errors.Join(err, os.RemoveAll(dir))
}

// detachLoops frees the loop devices whose file is below dir.
func detachLoops(dir string) error {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, file := range files {
		backing, failed := os.ReadFile(file)
		if failed != nil || !strings.HasPrefix(string(backing), dir+"/") {
			continue // freed by somebody, or somebody's
		}
		device := "/dev/" + strings.Split(file, "/")[3]
		f, failed := os.Open(device)
		if failed == nil {
			failed = errors.Join(unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0), f.Close())
		}
		if failed != nil && !errors.Is(failed, unix.ENXIO) {
			err = errors.Join(err, fmt.Errorf("detach %s: %w", device, failed))
		}
	}
	return err
}
