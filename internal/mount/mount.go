package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBusy means that something uses the mount.
var ErrBusy = errors.New("mount is in use")

// Device mounts the file system on a block device. The error of a device whose
// content the kernel refuses wraps its errno (EUCLEAN, EINVAL, …); see Damaged.
func Device(source, target, fsType string, o Options) error {
	if err := unix.Mount(source, target, fsType, o.Flags, o.Data); err != nil {
		return fmt.Errorf("mount %s (%s, options %q) on %s: %w", source, fsType, o.Data, target, err)
	}
	return nil
}

// Damaged tells whether err, of Device, is how a file system reports that its
// own structures are broken, so that a check may help.
func Damaged(err error) bool {
	// EUCLEAN is EFSCORRUPTED, EBADMSG is EFSBADCRC in ext4 and xfs.
	return errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG) || errors.Is(err, unix.EIO)
}

// Bind makes what is at source appear at target as well, without the mounts
// below it. A read-only bind is never writable, not even for a moment: it gets
// its flag before it gets its place (mount_setattr, Linux 5.12).
func Bind(source, target string, readOnly bool) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, target, err)
	}
	defer unix.Close(tree)
	if readOnly {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return fmt.Errorf("bind %s read-only on %s: %w", source, target, err)
		}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, target, err)
	}
	return nil
}

// Unmount takes the topmost mount off target. It answers ErrBusy when that is
// in use, never detaches lazily, and does not follow a symbolic link. Nothing
// mounted there, or no such path, is no error.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	switch {
	case err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("unmount %s: %w", target, ErrBusy)
	}
	return fmt.Errorf("unmount %s: %w", target, err)
}
