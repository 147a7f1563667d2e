package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/quota"
)

// checkLimit tries a limit out through an overlay mount. A file system may
// count and not enforce (ext4 with the quota feature but without prjquota,
// xfs with pqnoenforce), and a limit binds the runtime's root at all only
// because overlay gives up the mounter's CAP_SYS_RESOURCE when it writes to
// its upper directory (ovl_fill_super: "never override disk quota limits").
func checkLimit(dir string, first, last uint32) error {
	if err := checkQuota(dir); err != nil {
		return err
	}
	f, err := quota.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	id, err := freeProject(f, first, last)
	if err != nil {
		return err
	}
	const limit = 256 << 10
	if err := f.SetLimit(id, limit); err != nil {
		return err
	}
	err = within(dir, func(tmp string) error { return exceed(tmp, id, 16*limit) })
	return errors.Join(err, f.SetLimit(id, 0))
}

// freeProject returns an unused id, from the far end of the range: snapshots
// take theirs from the near one.
func freeProject(f *quota.FS, first, last uint32) (uint32, error) {
	for id := last; id >= first; id-- {
		q, err := f.Get(id)
		if err != nil {
			return 0, err
		}
		if q.Limit == 0 && q.Used == 0 && q.Inodes == 0 {
			return id, nil
		}
	}
	return 0, fmt.Errorf("every project id from %d to %d is in use", first, last)
}

// exceed writes bytes through an overlay whose upper directory has the
// project id, and wants to be stopped.
func exceed(tmp string, id uint32, bytes int) (err error) {
	for _, d := range []string{"a", "u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
			return err
		}
	}
	upper, work, target := filepath.Join(tmp, "u"), filepath.Join(tmp, "w"), filepath.Join(tmp, "m")
	if err := errors.Join(quota.SetProject(upper, id), quota.SetProject(work, id)); err != nil {
		return err
	}
	options := "lowerdir=" + filepath.Join(tmp, "a") + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount -t overlay -o %s: %w", options, err)
	}
	defer func() { err = errors.Join(err, mount.UnmountAll(target, unix.UMOUNT_NOFOLLOW)) }()
	f, err := os.Create(filepath.Join(target, "f"))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(make([]byte, bytes))
	err = errors.Join(err, f.Sync())
	if errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOSPC) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%d bytes were written past the limit", bytes)
	}
	return err
}
