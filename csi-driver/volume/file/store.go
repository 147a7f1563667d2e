package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

const (
	// minStore is the smallest store that is worth having: XFS takes a good
	// part of less for itself, and refuses less than 300 MiB.
	minStore = 512 << 20
	// storeStep keeps sizes round.
	storeStep = 64 << 20
)

// openStore makes, grows, attaches and mounts the store, each only where that
// has not happened yet.
func openStore(ctx context.Context, p pool, size int64) error {
	if err := removeHalfMade(p.store); err != nil {
		return err
	}
	if _, err := os.Stat(p.store); errors.Is(err, os.ErrNotExist) {
		if err := makeStore(ctx, p, size); err != nil {
			return fmt.Errorf("make the store %s (its folder cannot reflink): %w", p.store, err)
		}
	} else if err != nil {
		return err
	}
	info, err := os.Stat(p.store)
	if err != nil {
		return err
	}
	if size != 0 && size < info.Size() {
		return fmt.Errorf("store size %d: %s has %d bytes, and a store never shrinks: set at least that, or 0", size, p.store, info.Size())
	}
	if err := mountStore(ctx, p); err != nil {
		return errors.Join(fmt.Errorf("mount the store %s: %w", p.store, err), p.close())
	}
	if err := growStore(p, max(size, info.Size())); err != nil {
		return errors.Join(fmt.Errorf("grow the store %s: %w", p.store, err), p.close())
	}
	return nil
}

// makeStore formats the file under another name first: a store.xfs that is
// there has been made completely.
func makeStore(ctx context.Context, p pool, size int64) error {
	if size == 0 {
		free, err := freeBytes(p.dir)
		if err != nil {
			return err
		}
		size = free / 5 * 4 / storeStep * storeStep
	}
	if size < minStore {
		return fmt.Errorf("%d bytes are too few, it needs %d: free some space in %s or set another pool folder", size, minStore, p.dir)
	}
	part := p.store + ".part"
	return errors.Join(
		volume.Effect("csi.store.make", func() error {
			if err := sparse(part, size); err != nil {
				return err
			}
			if err := run(ctx, "mkfs.xfs", "-q", "-m", "reflink=1", part); err != nil {
				return err
			}
			if err := syncFile(part); err != nil {
				return err
			}
			if err := os.Rename(part, p.store); err != nil {
				return err
			}
			return syncDir(p.dir)
		}),
		removeHalfMade(p.store),
	)
}

func removeHalfMade(store string) error {
	if err := os.Remove(store + ".part"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// storeDevice returns the loop device over the store file, if there is one.
func storeDevice(store string) (loop.Device, bool, error) {
	found, err := loop.Find(store)
	if err != nil || len(found) == 0 {
		return loop.Device{}, false, err
	}
	return found[0], true, nil
}

func mountStore(ctx context.Context, p pool) error {
	dev, ok, err := storeDevice(p.store)
	if err != nil {
		return err
	}
	if !ok {
		err = volume.Effect("csi.store.attach", func() error {
			dev, err = loop.Attach(ctx, p.store, loop.Options{})
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := os.Mkdir(p.base, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	at, err := mount.At(p.base)
	if err != nil {
		return err
	}
	if len(at) > 0 {
		if at[len(at)-1].Device == dev.Number {
			return nil
		}
		return fmt.Errorf("something else is mounted on %s: unmount it", p.base)
	}
	// discard: what volumes give back goes back to the disk below as well.
	options := mount.Options{Flags: unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NOATIME, Data: "discard"}
	return volume.Effect("csi.store.mount", func() error {
		err := mount.Device(dev.Path, p.base, mount.XFS, options)
		if mount.Damaged(err) {
			return fmt.Errorf("%w; repair it with: xfs_repair %s", err, dev.Path)
		}
		return err
	})
}

// growStore gives file, device and file system that size, also when a crash
// came after the first or the second.
func growStore(p pool, size int64) error {
	return volume.Effect("csi.store.grow", func() error {
		info, err := os.Stat(p.store)
		if err != nil {
			return err
		}
		if size > info.Size() {
			if err := os.Truncate(p.store, size); err != nil {
				return noRoom(err)
			}
		}
		dev, _, err := storeDevice(p.store)
		if err != nil {
			return err
		}
		if dev.Size < size {
			if err := loop.Resize(dev.Path); err != nil {
				return err
			}
		}
		return mount.Grow(p.base, dev.Path, mount.XFS, size)
	})
}

// closeStore takes the store away; one that is in use stays.
func closeStore(p pool) error {
	dev, ok, err := storeDevice(p.store)
	if err != nil || !ok {
		return err
	}
	at, err := mount.At(p.base)
	if err != nil {
		return err
	}
	if n := len(at); n > 0 && at[n-1].Device == dev.Number {
		err := mount.Unmount(p.base)
		if errors.Is(err, mount.ErrBusy) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	// Another mount namespace may have copied the mount: then the device goes
	// when that does, and a start before then finds it.
	return loop.Release(dev)
}

// sparse makes an empty file of that length.
func sparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return noRoom(errors.Join(f.Truncate(size), f.Close()))
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", filepath.Clean(dir), err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// run execs a tool and gives its output to the error.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: install it (Debian: apt-get install xfsprogs e2fsprogs)", err)
	}
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, tail(out))
	}
	return nil
}

// tail keeps an error readable when a tool is talkative.
func tail(out []byte) string {
	const limit = 500
	if len(out) > limit {
		out = append([]byte("..."), out[len(out)-limit:]...)
	}
	return string(out)
}
