package mount

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctls of ext4 and xfs (uapi linux/ext4.h; xfsprogs xfs_fs.h); x/sys has
// none of them.
const (
	ext4Resize  = 0x40086610 // EXT4_IOC_RESIZE_FS: blocks, u64
	xfsGeometry = 0x8070587c // XFS_IOC_FSGEOMETRY_V4: 112 bytes
	xfsGrow     = 0x4010586e // XFS_IOC_FSGROWFSDATA
)

// xfsGeom is struct xfs_fsop_geom_v4.
type xfsGeom struct {
	BlockSize, RTExtSize, AGBlocks, AGCount, LogBlocks, SectSize, InodeSize, IMaxPct uint32
	DataBlocks, RTBlocks, RTExtents, LogStart                                        uint64
	UUID                                                                             [16]byte
	SUnit, SWidth                                                                    uint32
	Version                                                                          int32
	Flags, LogSectSize, RTSectSize, DirBlockSize, LogSUnit                           uint32
}

// xfsGrowData is struct xfs_growfs_data.
type xfsGrowData struct {
	NewBlocks uint64
	IMaxPct   uint32
	_         uint32
}

// ErrGrowOffline means that this process may not grow a mounted ext4: the
// kernel wants CAP_SYS_RESOURCE (fs/ext4/resize.c, ext4_resize_begin).
var ErrGrowOffline = errors.New("a mounted ext4 grows only for a process with CAP_SYS_RESOURCE; unmount it, or give the daemon that capability")

// Grow makes the file system that is mounted at point from the device node as
// large as size, its device's size in bytes, online. One that is as large
// already stays as it is; nothing ever shrinks. ErrGrowOffline for an ext4
// that this process may not grow.
func Grow(point, node, fsType string, size int64) error {
	dir, err := os.Open(point)
	if err != nil {
		return fmt.Errorf("grow: %w", err)
	}
	defer dir.Close()
	switch fsType {
	case Ext4:
		err = growExt4(dir, node, size)
	case XFS:
		err = growXFS(dir, size)
	default:
		err = errors.New("only ext4 and xfs can grow")
	}
	if err != nil {
		return fmt.Errorf("grow %s on %s to %d bytes: %w", fsType, point, size, err)
	}
	return nil
}

func growExt4(dir *os.File, node string, size int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return err
	}
	// Asked of the device, whose page cache ext4 shares: statfs leaves the
	// file system's own structures out.
	now, err := ReadSuperOf(node)
	if err != nil {
		return err
	}
	blocks := uint64(size / st.Bsize)
	if now.Size >= int64(blocks)*st.Bsize {
		return nil
	}
	err = ioctl(dir, ext4Resize, unsafe.Pointer(&blocks))
	if errors.Is(err, unix.EPERM) {
		return ErrGrowOffline
	}
	return err
}

func growXFS(dir *os.File, size int64) error {
	var geom xfsGeom
	if err := ioctl(dir, xfsGeometry, unsafe.Pointer(&geom)); err != nil {
		return err
	}
	blocks := uint64(size / int64(geom.BlockSize))
	if blocks <= geom.DataBlocks {
		return nil
	}
	grow := xfsGrowData{NewBlocks: blocks, IMaxPct: geom.IMaxPct}
	return ioctl(dir, xfsGrow, unsafe.Pointer(&grow))
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return errno
	}
}
