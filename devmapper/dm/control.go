package dm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// openNode opens the control device by its node, which it makes where nobody
// did. What it made for a device that is not there goes again.
func openNode(node string) (*control, error) {
	undo, err := makeControlNode(node)
	if err != nil {
		return nil, err
	}
	k, err := openControl(node)
	if err == nil {
		return k, nil
	}
	undo()
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("kernel has no device-mapper: load it with modprobe dm_mod, or boot a kernel that was built with CONFIG_BLK_DEV_DM (every distribution's): %w (%w)", errdefs.ErrNotImplemented, err)
	}
	return nil, fail("open device-mapper", "", err)
}

// makeControlNode makes the node of the control device where it is missing.
// Its minor number is in /proc/misc once the module is there; before, opening
// 10:236 makes the kernel load it (MAPPER_CTRL_MINOR in linux/miscdevice.h).
func makeControlNode(node string) (undo func(), err error) {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return func() {}, nil
	}
	dir := filepath.Dir(node)
	dirErr := os.Mkdir(dir, 0o755)
	if dirErr != nil && !errors.Is(dirErr, os.ErrExist) {
		return nil, fail("make the directory of device-mapper's nodes", "", dirErr)
	}
	minor := uint32(mapperMinor)
	if m, ok := miscMinor("/proc/misc"); ok {
		minor = m
	}
	err = unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(miscMajor, minor)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fail("make the node of device-mapper", "", &os.PathError{Op: "mknod", Path: node, Err: err})
	}
	return func() {
		if err == nil {
			_ = os.Remove(node)
		}
		if dirErr == nil {
			_ = os.Remove(dir) // stays where another one put something meanwhile
		}
	}, nil
}

const (
	miscMajor   = 10
	mapperMinor = 236
)

// miscMinor finds the minor number of device-mapper among the misc devices.
func miscMinor(path string) (uint32, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		number, name, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if name == "device-mapper" {
			minor, err := strconv.ParseUint(number, 10, 20)
			return uint32(minor), err == nil
		}
	}
	return 0, false
}
