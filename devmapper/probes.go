package devmapper

import (
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/probe"
	"github.com/varve-project/varve/snapshotter"
)

// IDMapped is whether ext4 and xfs can be mounted with mapped ids: both since
// Linux 5.12. With dir, a directory on an ext4, it is tried; without, the
// kernel's release decides.
func IDMapped(dir string) *probe.Probe {
	return probe.New("idmapped ext4 and xfs mounts", "5.12",
		"boot a newer kernel with CONFIG_USER_NS and user.max_user_namespaces above 0", func() error {
			return checkIDMapped(dir)
		})
}

func checkIDMapped(dir string) error {
	const host = 100_000
	mapping := fmt.Sprintf("0:%d:10", host)
	ns, err := mount.GetUsernsFD(mapping, mapping)
	if err != nil {
		return fmt.Errorf("user namespace: %w", err)
	}
	defer ns.Close()
	if dir == "" {
		return checkRelease()
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("map the mount of %s: %w", dir, err)
	}
	// Some file systems take the mount and not the mapping.
	var plain, mapped unix.Stat_t
	if err := unix.Stat(dir, &plain); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if err := unix.Fstatat(tree, "", &mapped, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if plain.Uid == 0 && mapped.Uid != host {
		return fmt.Errorf("a directory of 0 shows as of %d and not of %d", mapped.Uid, host)
	}
	return nil
}

func checkRelease() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("kernel release %q: %w", release, err)
	}
	if major < 5 || major == 5 && minor < 12 {
		return fmt.Errorf("the kernel is %s", release)
	}
	return nil
}

// Detect tells the capabilities that a daemon on this kernel would have; it
// needs no pool.
func Detect() snapshotter.Capabilities { return capabilities(IDMapped("")) }
