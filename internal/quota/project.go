// Package quota is the kernel boundary of project quotas on ext4 and xfs:
// the project id of a directory (FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR), and
// limit and usage of a project (quotactl_fd(2), quotactl(2) before Linux
// 5.14). It keeps no state; who gets which id is the driver's to decide.
package quota

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	xflags     uint32
	extsize    uint32
	nextents   uint32
	projid     uint32
	cowextsize uint32
	pad        [8]byte
}

const (
	fsIocFSGetXattr = 0x801c581f // _IOR('X', 31, struct fsxattr)
	fsIocFSSetXattr = 0x401c5820 // _IOW('X', 32, struct fsxattr)
	projInherit     = 0x200      // FS_XFLAG_PROJINHERIT
)

// Project returns the project id of the file or directory at path, and
// whether new files in it inherit that id. 0 is "no project".
func Project(path string) (id uint32, inherit bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	var x fsxattr
	if err := ioctl(f, fsIocFSGetXattr, &x); err != nil {
		return 0, false, fmt.Errorf("project id of %s: %w", path, err)
	}
	return x.projid, x.xflags&projInherit != 0, nil
}

// SetProject gives the directory at path the project id, to be inherited by
// all that is made in it later. What is in it already keeps its own.
//
// A rename into a directory that inherits another id fails with EXDEV, so
// the directory's own parent must not inherit.
func SetProject(path string, id uint32) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var x fsxattr
	if err := ioctl(f, fsIocFSGetXattr, &x); err != nil {
		return fmt.Errorf("project id of %s: %w", path, err)
	}
	x.projid, x.xflags = id, x.xflags|projInherit
	if err := ioctl(f, fsIocFSSetXattr, &x); err != nil {
		return fmt.Errorf("give %s the project id %d: %w", path, id, err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, x *fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(x)))
	if errno != 0 {
		return errno
	}
	return nil
}
