package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/loop"
)

// pool is where things lie.
type pool struct {
	// dir is the configured folder.
	dir string
	// base holds volumes, snapshots and so on: dir, or the mounted store.
	base string
	// store is the store file, "" when dir can reflink.
	store string
	// device is st_dev of base at start: another one later means that the
	// store, or the disk that dir is on, has been unmounted.
	device uint64
}

const (
	imageName    = "image"
	volumeName   = "volume.json"
	snapshotName = "snapshot.json"
)

// folders of a pool. Images are made in work, so that is where the hints for
// their extents belong.
var folders = []string{"volumes", "snapshots", "work", "trash"}

func openPool(ctx context.Context, config Config) (pool, error) {
	p := pool{dir: config.Dir, base: config.Dir}
	if err := os.Mkdir(p.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return pool{}, err
	}
	store, err := chooseStore(p.dir)
	if err != nil || store == "" {
		return p, err
	}
	p.store, p.base = store, filepath.Join(p.dir, "store")
	return p, openStore(ctx, p, config.StoreSize)
}

// chooseStore returns the store file that the pool has or needs, "" for none.
func chooseStore(dir string) (string, error) {
	store := filepath.Join(dir, "store.xfs")
	if _, err := os.Stat(store); err == nil {
		return store, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	can, err := canReflink(dir)
	if err != nil || can {
		return "", err
	}
	return store, nil
}

func (p pool) path(parts ...string) string {
	return filepath.Join(append([]string{p.base}, parts...)...)
}

func (p pool) image(kind, id string) string { return p.path(kind, id, imageName) }

// number returns st_dev of the base.
func (p pool) number() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(p.base, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: p.base, Err: err}
	}
	return st.Dev, nil
}

// present answers an error when the base is not what it was at start.
func (p pool) present() error {
	now, err := p.number()
	if err == nil && now != p.device {
		err = fmt.Errorf("%s is not mounted any more: restart varve-csi", p.base)
	}
	return err
}

func (p pool) makeFolders() error {
	for _, name := range folders {
		if err := os.Mkdir(p.path(name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := hintExtents(p.path("work")); err != nil {
		return err
	}
	return syncDir(p.base)
}

func (p pool) close() error {
	if p.store == "" {
		return nil
	}
	used, err := p.devices()
	if err != nil || len(used) > 0 {
		return err
	}
	return closeStore(p)
}

// devices returns the loop devices over images of this pool.
func (p pool) devices() ([]loop.Device, error) {
	all, err := loop.List()
	if err != nil {
		return nil, err
	}
	base, err := filepath.EvalSymlinks(p.base)
	if err != nil {
		return nil, err
	}
	var own []loop.Device
	for _, d := range all {
		if filepath.Base(d.Backing) == imageName && strings.HasPrefix(d.Backing, base+"/") {
			own = append(own, d)
		}
	}
	return own, nil
}

// canReflink tries it: what the file system's name promises depends on how it
// was made.
func canReflink(dir string) (bool, error) {
	src, err := os.CreateTemp(dir, ".tmp-reflink-*")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(src.Name()) }()
	defer src.Close()
	dst, err := os.CreateTemp(dir, ".tmp-reflink-*")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(dst.Name()) }()
	defer dst.Close()
	if _, err := src.Write(make([]byte, 4096)); err != nil {
		return false, err
	}
	err = unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return false, nil
	}
	return false, fmt.Errorf("try a reflink in %s: %w", dir, err)
}

// reflink makes dst, which must not exist, share all of src's blocks.
func reflink(src, dst string) error {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		return noRoom(fmt.Errorf("reflink %s to %s: %w", src, dst, err))
	}
	return nil
}

// syncFile makes a file's content and size durable.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	return noRoom(errors.Join(err, f.Close()))
}

func syncDir(dir string) error { return atomicfile.SyncDir(dir) }

// noRoom marks the kernel's "no space left" as this contract's.
func noRoom(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", volume.ErrNoRoom, err)
	}
	return err
}

// allocated returns how many bytes the file holds on disk, shared ones too.
func allocated(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Blocks * 512, nil
}
