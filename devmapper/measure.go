package devmapper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/superblock"
	"github.com/varve-project/varve/internal/mount"
)

// How full a file system is, at constant cost: of one that is not mounted its
// superblock says it, of one that is statfs(2) does. The two count alike but
// for a part that stays the same as long as the size does (device.Hidden).

// mountedHere tells whether this kernel has the file system of the device
// mounted, in whatever namespace. A device may also be open without that: to
// a virtual machine, whose file system we must not touch.
func mountedHere(path, fsType string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	name, err := os.Readlink(link)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(filepath.Join("/sys/fs", fsType, filepath.Base(name)))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// open makes a mount that nobody sees.
func open(path, fsType string) (*mount.Tree, error) {
	return mount.Detached(path, fsType, false, fileSystemOptions(fsType)...)
}

// statfs is what a mounted file system says that it holds, without what an
// xfs keeps in reserve: how much that is depends on the size that it had when
// it was mounted.
func statfs(t *mount.Tree, fsType string) (fill, error) {
	st, err := t.Statfs()
	if err != nil {
		return fill{}, err
	}
	used := int64(st.Blocks) - int64(st.Bfree)
	if fsType == mount.XFS {
		reserve, err := reserved(t)
		if err != nil {
			return fill{}, err
		}
		used -= reserve
	}
	return fill{Bytes: used * st.Bsize, Inodes: int64(st.Files) - int64(st.Ffree)}, nil
}

// reserved is the number of blocks in the reserve of a mounted xfs
// (XFS_IOC_GET_RESBLKS; xfsprogs xfs_fs.h).
func reserved(t *mount.Tree) (int64, error) {
	dir, err := os.Open(t.Path())
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	var answer struct{ Blocks, Available uint64 }
	const xfsGetReserve = 0x80105873
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), xfsGetReserve, uintptr(unsafe.Pointer(&answer))); errno != 0 {
		return 0, fmt.Errorf("ask for the reserve of an xfs: %w", errno)
	}
	return int64(answer.Available), nil
}

// onDisk is what the superblock says.
func onDisk(path, fsType string) (superblock.Super, fill, error) {
	s, err := superblock.Read(path)
	if err == nil && s.FSType != fsType {
		err = fmt.Errorf("%s holds %s, and %s was expected", path, s.FSType, fsType)
	}
	return s, fill{Bytes: s.Used(), Inodes: s.Inodes}, err
}

// flush makes all that was written to the device durable: one flush of the
// disk, before which the pool commits its metadata.
func flush(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		err := unix.Fsync(fd)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "flush", Path: path, Err: err}
		}
	}
}

// heal mounts the file system for a moment, for the kernel to replay its
// journal, and returns what it holds by then, in the superblock's terms.
func heal(path string, d device) (held fill, err error) {
	t, err := open(path, d.FSType)
	if err != nil {
		return fill{}, err
	}
	if err := t.Close(); err != nil {
		return fill{}, err
	}
	if err := flush(path); err != nil {
		return fill{}, err
	}
	_, held, err = onDisk(path, d.FSType)
	return held, err
}

// live is what a file system holds that this kernel has mounted, in the
// superblock's terms.
func live(path string, d device) (held fill, err error) {
	t, err := open(path, d.FSType)
	if errors.Is(err, unix.EBUSY) {
		// Mounted read-only: nothing changes, and an xfs has nothing hidden.
		_, held, err = onDisk(path, d.FSType)
		return held, err
	}
	if err != nil {
		return fill{}, err
	}
	held, err = statfs(t, d.FSType)
	held.Bytes -= d.Hidden
	return held, errors.Join(err, t.Close())
}

// own is what a snapshot holds besides its parent's. Both counts are of whole
// file systems, so that deleting the parent's files can make it negative.
func (f fill) own(base fill) fill {
	return fill{Bytes: max(f.Bytes-base.Bytes, 0), Inodes: max(f.Inodes-base.Inodes, 0)}
}
