package story

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/node"
)

// uidsFile lists the pods' UIDs, by which their cgroups are known.
const uidsFile = "uids"

// remember keeps a pod's UID for Sweep.
func (s *story) remember(uid string) error {
	f, err := os.OpenFile(filepath.Join(s.Dir, uidsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, uid)
	return errors.Join(err, f.Close())
}

// Sweep takes away what a story in dir has left on the shared machine, however
// it ended: the kernel has ended its processes, mounts and namespaces with the
// node, but not its loop devices, cgroups and files.
func Sweep(dir string) error {
	err := detachLoops(dir)
	uids, failed := os.ReadFile(filepath.Join(dir, uidsFile))
	if failed != nil && !errors.Is(failed, os.ErrNotExist) {
		err = errors.Join(err, failed)
	}
	for _, uid := range strings.Fields(string(uids)) {
		err = errors.Join(err, node.RemoveCgroup("varve/"+uid))
	}
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
