package devmapper

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/mount"
)

// growNew grows the file system of a device that nobody has mounted yet to
// the device's size, by the kernel's own ioctl on a mount that nobody sees:
// no resize2fs, no xfs_growfs. It returns the device as it is then; what the
// growth takes itself counts as the parent's.
func growNew(path string, d device) (device, error) {
	t, err := open(path, d.FSType)
	if err != nil {
		return d, err
	}
	failpoint.Hit("devmapper.grow.resize.before")
	err = mount.Grow(t.Path(), path, d.FSType, d.Bytes)
	if err != nil {
		return d, errors.Join(grown(err), t.Close())
	}
	failpoint.Hit("devmapper.grow.resize.after")
	mounted, err := statfs(t, d.FSType)
	if err := errors.Join(err, t.Close()); err != nil {
		return d, err
	}
	_, d.Base, err = onDisk(path, d.FSType)
	d.Hidden = mounted.Bytes - d.Base.Bytes
	d.Growing = false
	return d, err
}

// growLive grows the file system of a snapshot that may be mounted to the size
// of its device. What it holds stays the same but for what the growth itself
// takes, and that counts as the parent's.
func growLive(path string, d device) (device, error) {
	t, err := open(path, d.FSType)
	if err != nil {
		return d, err
	}
	before, err := both(t, path, d.FSType)
	if err != nil {
		return d, errors.Join(err, t.Close())
	}
	failpoint.Hit("devmapper.grow.resize.before")
	if err := mount.Grow(t.Path(), path, d.FSType, d.Bytes); err != nil {
		return d, errors.Join(grown(err), t.Close())
	}
	failpoint.Hit("devmapper.grow.resize.after")
	after, err := both(t, path, d.FSType)
	if err := errors.Join(err, t.Close()); err != nil {
		return d, err
	}
	d.Growing = false
	return d.moved(before, after), nil
}

// counts are the two ways to count a mounted file system's blocks, in bytes.
type counts struct {
	total   int64 // by the superblock
	visible int64 // by statfs
	used    int64 // by statfs
}

func both(t *mount.Tree, path, fsType string) (c counts, err error) {
	st, err := t.Statfs()
	if err != nil {
		return c, err
	}
	held, err := statfs(t, fsType)
	if err != nil {
		return c, err
	}
	c.visible, c.used = int64(st.Blocks)*st.Bsize, held.Bytes
	if fsType == mount.Ext4 {
		// The device's page cache is ext4's own.
		s, err := mount.ReadSuperOf(path)
		if err != nil {
			return c, err
		}
		c.total = s.Size
	}
	return c, nil
}

// moved adjusts what the usage is counted from after a growth. ext4's new
// structures show in the superblock's count and not in that of statfs; what a
// mounted xfs holds back for its new groups is the other way round.
func (d device) moved(before, after counts) device {
	structures := (after.total - before.total) - (after.visible - before.visible)
	if d.FSType != mount.Ext4 {
		structures = 0
	}
	d.Base.Bytes += structures
	d.Hidden += after.used - before.used - structures
	return d
}

// grown explains why a file system did not grow.
func grown(err error) error {
	if errors.Is(err, mount.ErrGrowOffline) {
		return fmt.Errorf("%w: %w", err, unix.EPERM)
	}
	return err
}
