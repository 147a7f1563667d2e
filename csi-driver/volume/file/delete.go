package file

import (
	"context"
	"fmt"
	"os"

	"github.com/varve-project/varve/csi-driver/volume"
)

// Delete implements volume.Backend.
func (b *Backend) Delete(ctx context.Context, id string) error {
	if _, err := b.Volume(id); absent(err) {
		return nil
	}
	for _, readOnly := range []bool{false, true} {
		d, attached, err := b.Attached(id, readOnly)
		if err != nil {
			return err
		}
		if attached {
			return fmt.Errorf("delete volume %s: attached as %s: %w; unpublish and unstage it first", id, d.Path, volume.ErrInUse)
		}
	}
	err := b.discard("csi.delete", "volumes", volume.Entry{Op: volume.OpDelete, ID: id}, func() {
		b.catalog.change(func() { delete(b.catalog.volumes, id) })
	})
	if err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	return nil
}

// DeleteSnapshot implements volume.Backend.
func (b *Backend) DeleteSnapshot(_ context.Context, id string) error {
	if _, err := b.Snapshot(id); absent(err) {
		return nil
	}
	err := b.discard("csi.delete-snapshot", "snapshots", volume.Entry{Op: volume.OpDeleteSnapshot, ID: id}, func() {
		b.catalog.change(func() { delete(b.catalog.snapshots, id) })
	})
	if err != nil {
		return fmt.Errorf("delete snapshot %s: %w", id, err)
	}
	return nil
}

// discard moves ID out of kind, which is the commit, and removes it. gone is
// called in between: from then on the object does not exist.
func (b *Backend) discard(call, kind string, intent volume.Entry, gone func()) error {
	err := volume.Effect(call+".journal", func() error { return b.journal.Begin(intent) })
	if err != nil {
		return err
	}
	err = volume.Effect(call+".commit", func() error { return b.move(kind, "trash", intent.ID) })
	if err != nil {
		return err
	}
	gone()
	err = volume.Effect(call+".remove", func() error {
		// XFS frees a removed file's blocks some time later, a truncated one's
		// at once; what was given back must be there for the next Create.
		if err := os.Truncate(b.pool.path("trash", intent.ID, imageName), 0); err != nil {
			return err
		}
		return remove(b.pool.path("trash", intent.ID), b.pool.path("trash"))
	})
	if err != nil {
		return err
	}
	return volume.Effect(call+".done", func() error { return b.journal.Done(intent.ID) })
}
