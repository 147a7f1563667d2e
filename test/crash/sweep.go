package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Sweep takes away what a failed test left in dir: its mounts, its loop
// devices, which outlive the node of the tests, and the folder.
func Sweep(dir string) error {
	// Devices first: one that is mounted goes with its mount.
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, path := range files {
		file, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(file), dir+"/") {
			_ = exec.Command("losetup", "-d", "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(path)))).Run()
		}
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		_ = unix.Unmount(mounts[i].Mountpoint, unix.MNT_DETACH)
	}
	return os.RemoveAll(dir)
}
