package dm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// appear makes the device's node: the link to ../dm-N that udev would make, so
// that a udevd that comes later finds its own, or a block node of its own
// where /dev has no dm-N (it is not devtmpfs). A node that names another
// device is replaced.
func (c *Control) appear(info Info) error {
	if c.nodes == "" {
		return nil
	}
	path := filepath.Join(c.nodes, info.Name)
	dev := unix.Mkdev(info.Major, info.Minor)
	if isNode(path, dev) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make the node of device %s: replace what is there: %w", info.Name, err)
	}
	var err error
	target := fmt.Sprintf("dm-%d", info.Minor)
	if isNode(filepath.Join(filepath.Dir(c.nodes), target), dev) {
		err = os.Symlink(filepath.Join("..", target), path)
	} else {
		err = unix.Mknod(path, unix.S_IFBLK|0o600, int(dev))
	}
	if err != nil && !(errors.Is(err, os.ErrExist) && isNode(path, dev)) {
		return fmt.Errorf("make the node of device %s (%d:%d): %w", info.Name, info.Major, info.Minor, &os.PathError{Op: "make", Path: path, Err: err})
	}
	return nil
}

// vanish removes the device's node; of one that has none it does nothing.
func (c *Control) vanish(info Info) error {
	if c.nodes == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(c.nodes, info.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the node of device %s: %w", info.Name, err)
	}
	return nil
}

// RepairNodes makes the nodes right that a killed process left wrong, of the
// devices whose names begin with the prefix: every live one gets its node, and
// a node of no device goes. For the start, before such devices come and go.
// Where udevd makes the nodes it does nothing. One ioctl, and one for each of
// the devices.
func (c *Control) RepairNodes(prefix string) error {
	if c.nodes == "" || c.udevMakesNodes() {
		return nil
	}
	nodes, err := os.ReadDir(c.nodes)
	if err != nil {
		return fmt.Errorf("repair the nodes of devices %s*: %w", prefix, err)
	}
	entries, err := c.List()
	if err != nil {
		return err
	}
	var errs []error
	known := map[string]bool{unix.DM_CONTROL_NODE: true}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name, prefix) {
			continue
		}
		info, err := c.Stat(e.Name)
		if err == nil && info.Live && !info.DeferredRemove {
			known[e.Name] = true
			err = c.appear(info)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	for _, n := range nodes {
		if strings.HasPrefix(n.Name(), prefix) && !known[n.Name()] {
			errs = append(errs, c.vanish(Info{Name: n.Name()}))
		}
	}
	return errors.Join(errs...)
}

// isNode tells whether the path is, or links to, the block device.
func isNode(path string, dev uint64) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == dev
}
