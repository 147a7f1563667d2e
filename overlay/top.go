package overlay

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// topDir is what a layer's top directory has of its own: overlay shows the
// uppermost layer's, so a new layer starts with its parent's.
type topDir struct {
	mode     uint32
	uid, gid uint32
	xattrs   map[string][]byte
}

// plainTop is what Prepare gives a snapshot without a parent.
var plainTop = topDir{mode: 0o755}

// readTop reads a layer's top directory.
func readTop(layer string) (topDir, error) {
	var st unix.Stat_t
	if err := unix.Lstat(layer, &st); err != nil {
		return topDir{}, fmt.Errorf("layer %s: %w", layer, err)
	}
	t := topDir{mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid}
	names := make([]byte, 1024)
	n, err := unix.Llistxattr(layer, names)
	if errors.Is(err, unix.ERANGE) {
		names = make([]byte, 64<<10) // XATTR_LIST_MAX
		n, err = unix.Llistxattr(layer, names)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return t, nil
	}
	if err != nil {
		return topDir{}, fmt.Errorf("attributes of layer %s: %w", layer, err)
	}
	for _, name := range strings.Split(string(names[:n]), "\x00") {
		if !inheritable(name) {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(layer, name, value)
		if err != nil {
			return topDir{}, fmt.Errorf("attribute %s of layer %s: %w", name, layer, err)
		}
		if t.xattrs == nil {
			t.xattrs = map[string][]byte{}
		}
		t.xattrs[name] = value[:n]
	}
	return t, nil
}

// inheritable leaves out overlay's own marks, which speak of one layer only,
// and what the kernel's security modules set by themselves.
func inheritable(name string) bool {
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.") ||
		strings.HasPrefix(name, "system.posix_acl_") ||
		strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "trusted.overlay.")
}

// write gives the directory at path these attributes.
func (t topDir) write(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if st.Uid != t.uid || st.Gid != t.gid {
		if err := unix.Lchown(path, int(t.uid), int(t.gid)); err != nil {
			return fmt.Errorf("give %s to %d:%d: %w", path, t.uid, t.gid, err)
		}
	}
	for name, value := range t.xattrs {
		if err := unix.Lsetxattr(path, name, value, 0); err != nil {
			return fmt.Errorf("set %s on %s: %w", name, path, err)
		}
	}
	// Last, for chown clears set-id bits and an ACL changes the group's; and
	// in any case where the process has a umask.
	if st.Mode&0o7777 != t.mode || len(t.xattrs) > 0 {
		if err := unix.Chmod(path, t.mode); err != nil {
			return fmt.Errorf("give %s the mode %o: %w", path, t.mode, err)
		}
	}
	return nil
}

// plain tells whether the directory is as Prepare made it without a parent.
func (t topDir) plain() bool {
	return t.mode == plainTop.mode && t.uid == 0 && t.gid == 0 && len(t.xattrs) == 0
}
