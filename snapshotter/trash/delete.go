package trash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// maxDepth bounds how many descriptors one deletion holds; a directory
	// deeper than that is moved up into the bin and becomes an entry of its
	// own. Hostile layers nest by the ten thousand.
	maxDepth = 64
	// names are read in portions, so that a directory of a million names is
	// never in memory as a whole.
	portion = 1024
)

// deleter deletes one entry and what it lifts out of that entry's depths.
type deleter struct {
	bin    *Bin
	ctx    context.Context
	lifted []string
}

// all deletes the entry name. After an error, lifted holds what is left
// besides name itself.
func (d *deleter) all(name string) error {
	d.lifted = []string{name}
	for len(d.lifted) > 0 {
		name := d.lifted[len(d.lifted)-1]
		d.lifted = d.lifted[:len(d.lifted)-1]
		if err := d.entry(name); err != nil {
			return err
		}
	}
	return nil
}

// entry deletes one entry of the bin, whatever it is.
func (d *deleter) entry(name string) error {
	dir, err := os.OpenFile(d.bin.dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	return d.remove(int(dir.Fd()), name, 0)
}

// remove deletes name in the directory at, with all below it. What has
// vanished already counts as deleted.
func (d *deleter) remove(at int, name string, depth int) error {
	err := d.unlink(at, name, 0)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// POSIX says EPERM for unlink of a directory, Linux says EISDIR.
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%q: %w", name, err)
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%q: %w", name, unix.EPERM)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	err = d.empty(dir, depth)
	dir.Close()
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if err := d.unlink(at, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

// empty deletes all that is in dir. Deleting while reading makes a file
// system skip names, so it begins again until a pass finds none.
func (d *deleter) empty(dir *os.File, depth int) error {
	for {
		found := false
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		for {
			names, err := dir.Readdirnames(portion)
			for _, name := range names {
				found = true
				if err := d.child(dir, name, depth); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		if !found {
			return nil
		}
	}
}

func (d *deleter) child(dir *os.File, name string, depth int) error {
	if depth < maxDepth {
		return d.remove(int(dir.Fd()), name, depth+1)
	}
	err := d.unlink(int(dir.Fd()), name, 0)
	if errors.Is(err, unix.EISDIR) {
		return d.lift(int(dir.Fd()), name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lift moves a directory from the depths to the top of the bin, to be deleted
// from there. A crash in between leaves an entry like any other.
func (d *deleter) lift(at int, name string) error {
	top := fmt.Sprintf("%012d-deep", d.bin.next.Add(1)-1)
	if err := unix.Renameat2(at, name, unix.AT_FDCWD, filepath.Join(d.bin.dir, top), unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	d.lifted = append(d.lifted, top)
	return nil
}

// unlink is unlinkat that counts against the rate and that gets past the
// immutable and append-only attributes: a container with
// CAP_LINUX_IMMUTABLE may have set them, and its layer must go all the same.
func (d *deleter) unlink(at int, name string, flags int) error {
	err := unix.Unlinkat(at, name, flags)
	if errors.Is(err, unix.EPERM) && (thaw(at, ".") || thaw(at, name)) {
		err = unix.Unlinkat(at, name, flags)
	}
	if err != nil {
		return err
	}
	return d.bin.pace(d.ctx)
}

// thaw clears the attributes that forbid deletion; true means there were any.
func thaw(at int, name string) bool {
	var st unix.Stat_t
	// Only files and directories have the attributes, and opening anything
	// else (a device node out of a layer) may do anything.
	if unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	const frozen = 0x10 | 0x20 // FS_IMMUTABLE_FL | FS_APPEND_FL (linux/fs.h)
	attrs, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || attrs&frozen == 0 {
		return false
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(attrs&^frozen)) == nil
}
