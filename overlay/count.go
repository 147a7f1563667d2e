package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"
)

// maxDepth bounds how deep a tree is followed; a descriptor is open for each
// level. PATH_MAX allows no program to reach that deep by one path.
const maxDepth = 4096

// countTree counts blocks and inodes as continuity's fs.DiskUsage does. It
// goes through directory descriptors, so paths have no longest length;
// remembers only inodes with several links; and takes for granted that files
// of an active snapshot come and go under it.
func countTree(ctx context.Context, root string) (snapshots.Usage, error) {
	c := counter{ctx: ctx, seen: map[inode]struct{}{}}
	var st unix.Stat_t
	if err := unix.Lstat(root, &st); err != nil {
		return snapshots.Usage{}, &fs.PathError{Op: "count", Path: root, Err: err}
	}
	c.add(&st)
	if err := c.dir(unix.AT_FDCWD, root, 0); err != nil {
		return snapshots.Usage{}, fmt.Errorf("count %s: %w", root, err)
	}
	return c.usage, nil
}

type inode struct{ dev, ino uint64 }

type counter struct {
	ctx   context.Context
	usage snapshots.Usage
	seen  map[inode]struct{}
}

func (c *counter) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		key := inode{st.Dev, st.Ino}
		if _, again := c.seen[key]; again {
			return
		}
		c.seen[key] = struct{}{}
	}
	c.usage.Inodes++
	c.usage.Size += st.Blocks * 512 // stat(2): st_blocks is in units of 512 bytes
}

// dir counts what is in the directory name of the directory at.
func (c *counter) dir(at int, name string, depth int) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("more than %d directories deep: %w", maxDepth, unix.ELOOP)
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, n := range names {
			if err := c.entry(fd, n, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || vanished(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
}

func (c *counter) entry(at int, name string, depth int) error {
	var st unix.Stat_t
	err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	c.add(&st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return c.dir(at, name, depth+1)
}

// vanished tells that an entry went, or became another kind, since its name
// was read.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
