package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
	"github.com/varve-project/varve/internal/mount"
)

const (
	// lockFile is the owner's lock: in the catalog, and in the directory.
	lockFile = "pool.lock"
	// catalogDirectory is the catalog's mount point within Options.Directory.
	catalogDirectory = "catalog"
)

var catalogOptions = mount.Options{
	Flags: unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NOATIME,
	Data:  "errors=remount-ro",
}

// own makes this process the pool's only one. Two locks: one in the directory,
// so that two processes do not mount over each other, and one in the catalog,
// which is the same file for every mount of it in any mount namespace.
func (p *Pool) own(directory, node string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("the pool's directory: %w", err)
	}
	local, err := p.try(filepath.Join(directory, lockFile))
	if err != nil {
		return err
	}
	p.local = local
	if err := p.mountCatalog(filepath.Join(directory, catalogDirectory), node); err != nil {
		return err
	}
	if p.lock, err = p.try(p.lockPath()); err != nil {
		return err
	}
	return nil
}

func (p *Pool) try(path string) (*flock.Lock, error) {
	l, err := flock.Try(path)
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("%s is owned by another process%s: a pool has one owner; stop that one first: %w (%w)", p.where(), holderOf(path), errdefs.ErrFailedPrecondition, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", p.where(), err)
	}
	f := l.File()
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // for people only
	}
	return l, nil
}

// holderOf reads what the holder of a lock left for people.
func holderOf(path string) string {
	text, err := os.ReadFile(path)
	pid, numErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || numErr != nil {
		return ""
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return fmt.Sprintf(" (pid %d, %s)", pid, strings.TrimSpace(string(name)))
}

// mountCatalog mounts the catalog, or takes over the mount that a process left
// there which was killed.
func (p *Pool) mountCatalog(point, node string) error {
	if err := os.MkdirAll(point, 0o700); err != nil {
		return fmt.Errorf("the catalog's mount point: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return fmt.Errorf("the catalog %s: %w", node, err)
	}
	mounts, err := mount.At(point)
	if err != nil {
		return err
	}
	p.catalog = point
	if len(mounts) > 0 {
		top := mounts[len(mounts)-1]
		if top.Device != st.Rdev || top.Root != "/" || top.ReadOnly {
			return fmt.Errorf("something else is mounted on %s, where the catalog of %s belongs: unmount it: %w", point, p.where(), errdefs.ErrFailedPrecondition)
		}
		return nil
	}
	err = mount.Device(node, point, mount.Ext4, catalogOptions)
	if err != nil && mount.Damaged(err) {
		return fmt.Errorf("the catalog of %s is damaged; check it with `e2fsck -f %s` and start again: %w (%w)", p.where(), node, errdefs.ErrUnavailable, err)
	}
	if err != nil {
		return fmt.Errorf("the catalog of %s: %w", p.where(), err)
	}
	p.mounted = true
	return nil
}

// disown ends own, as far as it came. The mount of another owner stays.
func (p *Pool) disown() error {
	var errs []error
	if p.lock != nil {
		// A mount that was taken over is ours by the lock.
		p.mounted = true
		errs = append(errs, p.lock.Release())
		p.lock = nil
	}
	if p.mounted {
		if err := mount.Unmount(p.catalog); err != nil {
			errs = append(errs, fmt.Errorf("the catalog of %s: %w", p.where(), err))
		} else {
			p.mounted = false
		}
	}
	if p.local != nil {
		errs = append(errs, p.local.Release())
		p.local = nil
	}
	return errors.Join(errs...)
}
