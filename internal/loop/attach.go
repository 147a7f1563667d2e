package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Options say how Attach sets a device up.
type Options struct {
	// ReadOnly makes a device that refuses writes.
	ReadOnly bool
}

// sectorSize is fixed: a file system remembers the sector size that it was
// made on, and must find the same one on every attach.
const sectorSize = 512

// attempts bounds how often Attach loses the race for a free device: other
// programs ask the same loop-control at the same moment.
const attempts = 128

// Attach makes a new loop device over the regular file at path, with direct
// I/O where the file system allows it (else the content would be cached
// twice), no partition scan and no autoclear: it stays until Detach, also when
// the caller dies. It does not look for a device that is already there; see
// Find.
func Attach(ctx context.Context, path string, o Options) (Device, error) {
	flags := os.O_RDWR
	if o.ReadOnly {
		flags = os.O_RDONLY
	}
	backing, err := os.OpenFile(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return Device{}, fmt.Errorf("attach loop device: %w", err)
	}
	defer backing.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: sectorSize}
	config.Info.Flags = unix.LO_FLAGS_DIRECT_IO
	if o.ReadOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], path)
	for range attempts {
		if err := ctx.Err(); err != nil {
			return Device{}, fmt.Errorf("attach loop device to %s: %w", path, err)
		}
		d, err := configure(&config)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENXIO) {
			time.Sleep(time.Millisecond)
			continue // somebody else took it, or is just giving it back
		}
		if err != nil {
			return Device{}, fmt.Errorf("attach loop device to %s: %w", path, err)
		}
		return d, nil
	}
	return Device{}, fmt.Errorf("attach loop device to %s: lost the race for a free device %d times", path, attempts)
}

// configure takes a free device and sets it up in one ioctl (LOOP_CONFIGURE,
// Linux 5.8), so that nobody ever sees it half set up.
func configure(config *unix.LoopConfig) (Device, error) {
	ctl, err := os.OpenFile(control, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Device{}, fmt.Errorf("%w (load it with: modprobe loop)", err)
	}
	defer ctl.Close()
	index, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return Device{}, fmt.Errorf("find a free loop device: %w", err)
	}
	name := "loop" + strconv.Itoa(index)
	node := filepath.Join("/dev", name)
	f, err := open(node, os.O_RDWR)
	if err != nil {
		return Device{}, err
	}
	defer f.Close()
	if err := unix.IoctlLoopConfigure(int(f.Fd()), config); err != nil {
		return Device{}, fmt.Errorf("configure %s: %w", node, err)
	}
	d, err := inspect(filepath.Join(sysBlock, name))
	if err != nil {
		return Device{}, fmt.Errorf("configure %s: %w", node, err)
	}
	d.file, err = backingOf(f)
	return d, err
}

// open opens a loop device's node, making it first where /dev is not kept by
// the kernel (a container's).
func open(node string, flags int) (*os.File, error) {
	f, err := os.OpenFile(node, flags|unix.O_CLOEXEC, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	number, sysErr := attribute(filepath.Join(sysBlock, filepath.Base(node)), "dev")
	if sysErr != nil {
		return nil, err
	}
	dev, parseErr := parseNumber(number)
	if parseErr != nil || unix.Major(dev) != major {
		return nil, err
	}
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(dev)); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make %s: %w", node, err)
	}
	return os.OpenFile(node, flags|unix.O_CLOEXEC, 0)
}

// Resize makes the device as long as its backing file is now
// (LOOP_SET_CAPACITY); it may be in use.
func Resize(node string) error {
	f, err := open(node, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("resize %s: %w", node, err)
	}
	return nil
}
