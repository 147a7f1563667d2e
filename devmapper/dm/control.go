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
// did. A node that it made, and behind which there is nothing, goes again.
func openNode(node string) (*control, error) {
	made, err := makeControlNode(node)
	if err != nil {
		return nil, err
	}
	k, err := openControl(node)
	if err == nil {
		return k, nil
	}
	if made {
		err = errors.Join(err, os.Remove(node))
	}
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("kernel has no device-mapper: load it with modprobe dm_mod, or boot a kernel that was built with CONFIG_BLK_DEV_DM (every distribution's): %w (%w)", errdefs.ErrNotImplemented, err)
	}
	return nil, fail("open device-mapper", "", err)
}

// makeControlNode makes the node of the control device where it is missing.
// Its minor number is in /proc/misc once the module is there; before, opening
// 10:236 makes the kernel load it (MAPPER_CTRL_MINOR in linux/miscdevice.h).
func makeControlNode(node string) (made bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(node), 0o755); err != nil {
		return false, fmt.Errorf("open device-mapper: make the directory of its node: %w", err)
	}
	minor := uint32(mapperMinor)
	if m, ok := miscMinor("/proc/misc"); ok {
		minor = m
	}
	err = unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(miscMajor, minor)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return false, fail("make the node of device-mapper", "", &os.PathError{Op: "mknod", Path: node, Err: err})
	}
	return err == nil, nil
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
