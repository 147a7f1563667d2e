package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/mount"
)

// Create implements volume.Backend.
func (b *Backend) Create(ctx context.Context, want volume.CreateVolume) (volume.Volume, error) {
	v := volume.Volume{
		ID: volume.NewVolumeID(), Name: want.Name, Size: want.Size, FSType: want.FSType,
		Parameters: want.Parameters, Source: want.Source, Created: time.Now().UTC(),
	}
	fail := func(err error) (volume.Volume, error) {
		return volume.Volume{}, fmt.Errorf("create volume %q: %w", want.Name, err)
	}
	if err := b.checkSource(want); err != nil {
		return fail(err)
	}
	release, err := b.reserve("volume "+v.Name, v.Size)
	if err != nil {
		return fail(err)
	}
	defer release()
	intent := volume.Entry{Op: volume.OpCreate, ID: v.ID, VolumeID: want.Source.VolumeID}
	err = b.make(ctx, intent, "volumes", "csi.create", func(dir string) error {
		if err := b.fill(ctx, want, filepath.Join(dir, imageName)); err != nil {
			return err
		}
		return atomicfile.WriteJSON(filepath.Join(dir, volumeName), v)
	})
	if err != nil {
		return fail(err)
	}
	b.catalog.change(func() { b.catalog.volumes[v.ID] = v })
	return v, nil
}

// make builds a folder in work, moves it to kind when it is whole, and keeps
// the journal. What fails is undone, also when ctx has ended.
func (b *Backend) make(ctx context.Context, intent volume.Entry, kind, call string, build func(dir string) error) error {
	dir := b.pool.path("work", intent.ID)
	err := volume.Effect(call+".journal", func() error { return b.journal.Begin(intent) })
	if err != nil {
		return err
	}
	err = volume.Effect(call+".mkdir", func() error { return os.Mkdir(dir, 0o700) })
	if err == nil {
		err = build(dir)
	}
	if err == nil {
		err = errors.Join(syncFile(filepath.Join(dir, imageName)), ctx.Err())
	}
	if err == nil {
		err = volume.Effect(call+".commit", func() error { return b.move("work", kind, intent.ID) })
	}
	if err != nil {
		undo := remove(dir, b.pool.path("work"))
		if undo == nil {
			undo = b.journal.Done(intent.ID)
		}
		return errors.Join(noRoom(err), undo)
	}
	return volume.Effect(call+".done", func() error { return b.journal.Done(intent.ID) })
}

// move renames ID from one folder of the pool to another, durably.
func (b *Backend) move(from, to, id string) error {
	if err := syncDir(b.pool.path(from, id)); err != nil {
		return err
	}
	if err := os.Rename(b.pool.path(from, id), b.pool.path(to, id)); err != nil {
		return err
	}
	return errors.Join(syncDir(b.pool.path(to)), syncDir(b.pool.path(from)))
}

func (b *Backend) checkSource(want volume.CreateVolume) error {
	var size int64
	switch {
	case want.Source.SnapshotID != "":
		s, err := b.Snapshot(want.Source.SnapshotID)
		if err != nil {
			return err
		}
		size = s.Size
	case want.Source.VolumeID != "":
		v, err := b.Volume(want.Source.VolumeID)
		if err != nil {
			return err
		}
		size = v.Size
	}
	if want.Size < size {
		return fmt.Errorf("%d bytes are fewer than the %d of the source: %w", want.Size, size, volume.ErrRange)
	}
	return nil
}

// fill makes the image: a copy of the source, or sparse and, if a file system
// is wanted, formatted. It is a new file that nobody has ever had, so there is
// nothing that mkfs could destroy.
func (b *Backend) fill(ctx context.Context, want volume.CreateVolume, image string) error {
	var err error
	switch {
	case want.Source.SnapshotID != "":
		err = volume.Effect("csi.create.reflink", func() error {
			return reflink(b.pool.image("snapshots", want.Source.SnapshotID), image)
		})
	case want.Source.VolumeID != "":
		err = b.copyLive(ctx, "csi.create", want.Source.VolumeID, image)
	default:
		err = volume.Effect("csi.create.image", func() error { return sparse(image, want.Size) })
		if err == nil && want.FSType != "" {
			err = volume.Effect("csi.create.mkfs", func() error { return format(ctx, want.FSType, image) })
		}
		return err
	}
	if err != nil {
		return err
	}
	if err := checkContent(want.FSType, image); err != nil {
		return err
	}
	return volume.Effect("csi.create.truncate", func() error { return noRoom(os.Truncate(image, want.Size)) })
}

// checkContent refuses a source that does not hold the file system asked for.
func checkContent(fsType, image string) error {
	if fsType == "" {
		return nil
	}
	super, err := mount.ReadSuperOf(image)
	if err != nil {
		return err
	}
	if super.FSType != fsType {
		return fmt.Errorf("fs_type %q: the source holds %q: %w", fsType, super.FSType, volume.ErrInvalid)
	}
	return nil
}
