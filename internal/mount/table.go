package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Entry is one line of the mount table, topmost last.
type Entry struct {
	// Point is where it is mounted.
	Point string
	// Root is what of the file system is mounted, "/" for all of it.
	Root string
	// Device is st_dev of the files on it: the block device's number for
	// ext4 and xfs.
	Device uint64
	// FSType is the kernel's name of the file system.
	FSType string
	// ReadOnly tells about this mount, not about the file system.
	ReadOnly bool
}

// At returns the mounts on path, which may be absent (nothing then).
func At(path string) ([]Entry, error) {
	// mountinfo has resolved paths; only the last part may be missing.
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up mounts on %s: %w", path, err)
	}
	point := filepath.Join(dir, filepath.Base(path))
	return table(func(i *mountinfo.Info) (skip, stop bool) { return i.Mountpoint != point, false })
}

// Of returns all mounts of the file system with this device number in the
// caller's mount namespace.
func Of(device uint64) ([]Entry, error) {
	maj, min := int(unix.Major(device)), int(unix.Minor(device))
	return table(func(i *mountinfo.Info) (skip, stop bool) {
		return i.Major != maj || i.Minor != min, false
	})
}

func table(filter mountinfo.FilterFunc) ([]Entry, error) {
	infos, err := mountinfo.GetMounts(filter)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	entries := make([]Entry, len(infos))
	for n, i := range infos {
		entries[n] = Entry{
			Point:    i.Mountpoint,
			Root:     i.Root,
			Device:   unix.Mkdev(uint32(i.Major), uint32(i.Minor)),
			FSType:   i.FSType,
			ReadOnly: i.Options == "ro" || strings.HasPrefix(i.Options, "ro,"),
		}
	}
	return entries, nil
}
