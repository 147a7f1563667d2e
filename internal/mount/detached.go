package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a mount that has no place in any namespace: nobody can find it, and
// it ends with its descriptor, also when the process is killed.
type Tree struct{ dir *os.File }

// Detached mounts the file system on a device without a mount point (fsopen,
// Linux 5.2). Of one that is mounted already it is one more mount of the same
// file system, with the same caches and the same numbers. Programs on it
// cannot be run and device nodes not be opened. The options are the file
// system's own, "name" or "name=value"; each has its effect only where the
// file system was not mounted before. Close it exactly once.
func Detached(source, fsType string, readOnly bool, options ...string) (*Tree, error) {
	fs, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount %s (%s): %w", source, fsType, err)
	}
	defer unix.Close(fs)
	if err := configure(fs, source, readOnly, options); err != nil {
		return nil, fmt.Errorf("mount %s (%s, read-only %t, options %q): %w", source, fsType, readOnly, options, err)
	}
	attrs := unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOATIME
	if readOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	tree, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, fmt.Errorf("mount %s (%s): %w", source, fsType, err)
	}
	return &Tree{os.NewFile(uintptr(tree), source)}, nil
}

func configure(fs int, source string, readOnly bool, options []string) error {
	if err := unix.FsconfigSetString(fs, "source", source); err != nil {
		return err
	}
	if readOnly {
		options = append([]string{"ro"}, options...)
	}
	for _, o := range options {
		var err error
		if key, value, ok := strings.Cut(o, "="); ok {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, o)
		}
		if err != nil {
			return fmt.Errorf("option %q: %w", o, err)
		}
	}
	for {
		err := unix.FsconfigCreate(fs)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Path leads to the root of the mount for as long as it is open, in this
// process.
func (t *Tree) Path() string { return fmt.Sprintf("/proc/self/fd/%d", t.dir.Fd()) }

// FD is the descriptor of the mount's root, for the *at calls.
func (t *Tree) FD() int { return int(t.dir.Fd()) }

// Statfs asks the file system how full it is.
func (t *Tree) Statfs() (st unix.Statfs_t, err error) {
	if err := unix.Fstatfs(t.FD(), &st); err != nil {
		return st, fmt.Errorf("statfs of %s: %w", t.dir.Name(), err)
	}
	return st, nil
}

// Close unmounts: where this was the only mount, the file system is written
// and its device free when Close returns.
func (t *Tree) Close() error { return t.dir.Close() }
