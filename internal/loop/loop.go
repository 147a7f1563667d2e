// Package loop is the one place where Varve talks to the kernel's loop driver:
// attach a file, find what is attached, grow, detach. It owns no state; the
// kernel has it all, in /sys/block/loop*.
//
// A device is always looked up by the device and inode number of its backing
// file, never by path: paths differ between mount namespaces and carry
// " (deleted)" when the file is gone. Devices of other programs are only read.
//
// Partitions are never scanned: a raw volume's content is its owner's
// business, and the host must not see its partitions or its LVM.
package loop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrBusy means that something still uses the device.
var ErrBusy = errors.New("loop device is in use")

// Device is an attached loop device, as /sys shows it.
type Device struct {
	// Path is the device node, "/dev/loop3".
	Path string
	// Number is st_rdev of the node.
	Number uint64
	// Size is in bytes.
	Size int64
	// Backing is the path that the kernel knows for the backing file, without
	// " (deleted)". It is for people; compare inodes to be sure.
	Backing string
	// Deleted is true when that file has no name any more.
	Deleted bool
	// ReadOnly devices refuse writes.
	ReadOnly bool
	// DirectIO tells whether the page cache of the backing file is bypassed.
	DirectIO bool
	// Autoclear: the kernel detaches the device at its last close.
	Autoclear bool

	// file is the backing file's identity; zero in what List returns.
	file identity
}

// identity tells files apart.
type identity struct{ dev, ino uint64 }

const (
	sysBlock = "/sys/block"
	control  = "/dev/loop-control"
	deleted  = " (deleted)"
	// major is LOOP_MAJOR of the kernel.
	major = 7
)

// List returns every attached loop device of the machine.
func List() ([]Device, error) {
	dirs, err := filepath.Glob(filepath.Join(sysBlock, "loop*"))
	if err != nil {
		return nil, err
	}
	var devices []Device
	for _, dir := range dirs {
		d, err := inspect(dir)
		if gone(err) {
			continue // not attached, or detached while we looked
		}
		if err != nil {
			return nil, fmt.Errorf("list loop devices: %w", err)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func inspect(dir string) (Device, error) {
	d := Device{Path: filepath.Join("/dev", filepath.Base(dir))}
	backing, err := attribute(dir, "loop/backing_file")
	if err != nil {
		return Device{}, err
	}
	d.Backing, d.Deleted = strings.CutSuffix(backing, deleted)
	for _, flag := range []struct {
		name string
		to   *bool
	}{{"ro", &d.ReadOnly}, {"loop/dio", &d.DirectIO}, {"loop/autoclear", &d.Autoclear}} {
		v, err := attribute(dir, flag.name)
		if err != nil {
			return Device{}, err
		}
		*flag.to = v == "1"
	}
	sectors, err := attribute(dir, "size")
	if err != nil {
		return Device{}, err
	}
	n, err := strconv.ParseInt(sectors, 10, 64)
	if err != nil {
		return Device{}, fmt.Errorf("%s/size: %w", dir, err)
	}
	d.Size = n * 512 // /sys counts 512-byte sectors whatever the device's own are
	number, err := attribute(dir, "dev")
	if err != nil {
		return Device{}, err
	}
	d.Number, err = parseNumber(number)
	return d, err
}

func attribute(dir, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSuffix(string(data), "\n"), err
}

func parseNumber(s string) (uint64, error) {
	maj, min, ok := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(maj, 10, 32)
	b, err2 := strconv.ParseUint(min, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("device number %q: want MAJOR:MINOR", s)
	}
	return unix.Mkdev(uint32(a), uint32(b)), nil
}

// Find returns the devices that the file at path backs: none, or several when
// it was attached more than once.
func Find(path string) ([]Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("find loop device of %s: %w", path, err)
	}
	all, err := List()
	if err != nil {
		return nil, err
	}
	var found []Device
	for _, d := range all {
		// Only devices whose file has the same last name are opened: opening
		// somebody else's would delay its detaching.
		if d.Deleted || filepath.Base(d.Backing) != filepath.Base(path) {
			continue
		}
		d.file, err = backing(d.Path)
		if err != nil {
			return nil, err
		}
		if d.file == (identity{st.Dev, st.Ino}) {
			found = append(found, d)
		}
	}
	return found, nil
}

// backing returns the identity of the file behind a node, zero when the device
// has gone away meanwhile.
func backing(node string) (identity, error) {
	f, err := open(node, os.O_RDONLY)
	if err != nil {
		if gone(err) {
			return identity{}, nil
		}
		return identity{}, err
	}
	defer f.Close()
	return backingOf(f)
}

func backingOf(f *os.File) (identity, error) {
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		if gone(err) {
			return identity{}, nil
		}
		return identity{}, fmt.Errorf("status of %s: %w", f.Name(), err)
	}
	return identity{info.Device, info.Inode}, nil
}

// gone tells whether err is how a device without a backing file answers.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV)
}
