package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

// TakeSnapshot implements volume.Backend.
func (b *Backend) TakeSnapshot(ctx context.Context, want volume.TakeSnapshot) (volume.Snapshot, error) {
	fail := func(err error) (volume.Snapshot, error) {
		return volume.Snapshot{}, fmt.Errorf("snapshot %q of %s: %w", want.Name, want.VolumeID, err)
	}
	v, err := b.Volume(want.VolumeID)
	if err != nil {
		return fail(err)
	}
	holds, err := allocated(b.pool.image("volumes", v.ID))
	if err != nil {
		return fail(err)
	}
	release, err := b.reserve("snapshot "+want.Name, holds)
	if err != nil {
		return fail(err)
	}
	defer release()
	s := volume.Snapshot{ID: volume.NewSnapshotID(), Name: want.Name, VolumeID: v.ID, Size: v.Size, FSType: v.FSType}
	intent := volume.Entry{Op: volume.OpSnapshot, ID: s.ID, VolumeID: v.ID}
	err = b.make(ctx, intent, "snapshots", "csi.snapshot", func(dir string) error {
		image := filepath.Join(dir, imageName)
		if err := b.copyLive(ctx, "csi.snapshot", v.ID, image); err != nil {
			return err
		}
		s.Created = time.Now().UTC()
		if s.Allocated, err = allocated(image); err != nil {
			return err
		}
		return atomicfile.WriteJSON(filepath.Join(dir, snapshotName), s)
	})
	if err != nil {
		return fail(err)
	}
	b.catalog.change(func() { b.catalog.snapshots[s.ID] = s })
	return s, nil
}

// copyLive reflinks a volume's image at a moment when it is consistent: with
// its file system frozen where it is mounted, flushed where it is used raw.
func (b *Backend) copyLive(ctx context.Context, call, id, to string) error {
	image := b.pool.image("volumes", id)
	clone := func() error {
		return volume.Effect(call+".reflink", func() error { return reflink(image, to) })
	}
	d, attached, err := b.attached(id, false)
	if err != nil {
		return err
	}
	if !attached {
		return clone()
	}
	point, err := mountedAt(d)
	if err != nil {
		return err
	}
	if point == "" {
		err := volume.Effect(call+".flush", func() error { return flush(d.Path) })
		if err != nil {
			return err
		}
		return clone()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var thaw func() error
	err = volume.Effect(call+".freeze", func() error {
		thaw, err = b.config.Freezer.Freeze(point)
		return err
	})
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %w; thaw it with: fsfreeze --unfreeze %s", err, volume.ErrInUse, point)
	}
	if err != nil {
		return err
	}
	err = clone()
	return errors.Join(err, volume.Effect(call+".thaw", thaw))
}

// mountedAt returns a place where the device's file system can be reached, ""
// when it is not mounted at all.
func mountedAt(d loop.Device) (string, error) {
	mounts, err := mount.Of(d.Number)
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		var st unix.Stat_t
		if unix.Stat(m.Point, &st) == nil && st.Dev == d.Number { // not mounted over
			return m.Point, nil
		}
	}
	// Mounted file systems claim their device. One that is claimed, but whose
	// mount is out of sight, would be copied without its latest writes.
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return "", fmt.Errorf("%s is claimed, but not by a mount that this daemon can see and freeze: %w; run the daemon in the mount namespace of its volumes", d.Path, volume.ErrInUse)
	}
	if err != nil {
		return "", err
	}
	return "", f.Close()
}

// flush writes out what the page cache holds for a raw device.
func flush(node string) error {
	f, err := os.OpenFile(node, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
