package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// probeOverlay mounts an overlay over a temporary folder, deletes a file of
// the lower layer through it and looks for the whiteout. The mount is never
// attached to a path (fsopen(2), Linux 5.2), so nobody sees it and closing its
// descriptor ends it, also when this process is killed.
//
// It tries on the file system of root when that exists, since what matters is
// whether layers can live there.
func probeOverlay(root string) (err error) {
	if _, err := os.Stat(root); err != nil {
		root = ""
	}
	dir, err := os.MkdirTemp(root, ".doctor-*")
	if errors.Is(err, unix.EROFS) {
		dir, err = os.MkdirTemp("", ".doctor-*") // the check of the disk says so
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lower", "file"), nil, 0o600); err != nil {
		return err
	}
	mount, err := detachedOverlay(dir)
	if err != nil {
		return err
	}
	err = unix.Unlinkat(mount, "file", 0)
	_ = unix.Close(mount)
	if err != nil {
		return fmt.Errorf("delete through an overlay on %s: %w", filepath.Dir(dir), err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "upper", "file"), &st); err != nil {
		return fmt.Errorf("an overlay on %s made no whiteout: %w", filepath.Dir(dir), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		return fmt.Errorf("an overlay on %s made a whiteout that is no character device 0/0", filepath.Dir(dir))
	}
	return nil
}

// detachedOverlay returns the descriptor of an overlay mount of dir's folders.
func detachedOverlay(dir string) (int, error) {
	context, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen overlay: %w", err)
	}
	defer unix.Close(context)
	for key, folder := range map[string]string{"lowerdir": "lower", "upperdir": "upper", "workdir": "work"} {
		if err := unix.FsconfigSetString(context, key, filepath.Join(dir, folder)); err != nil {
			return -1, fmt.Errorf("overlay with %s on %s: %w", key, filepath.Dir(dir), err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, fmt.Errorf("create an overlay on %s: %w", filepath.Dir(dir), err)
	}
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount an overlay on %s: %w", filepath.Dir(dir), err)
	}
	return mount, nil
}
