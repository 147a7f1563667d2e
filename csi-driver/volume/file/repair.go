package file

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/mount"
)

// repair finishes or undoes what a crash cut short. It runs before anything
// else uses the pool, and every step may be repeated.
//
// What was being made is undone: its caller never learned of it. What was
// being removed or expanded is finished.
func (b *Backend) repair() error {
	entries, err := b.journal.Open()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := b.replay(e); err != nil {
			return fmt.Errorf("finish the interrupted %s of %s: %w", e.Op, e.ID, err)
		}
	}
	for _, name := range []string{"work", "trash"} {
		if err := empty(b.pool.path(name)); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := b.journal.Done(e.ID); err != nil {
			return err
		}
	}
	// A trial reflink that was cut short.
	return atomicfile.Clean(b.pool.dir)
}

func (b *Backend) replay(e volume.Entry) error {
	switch e.Op {
	case volume.OpCreate, volume.OpSnapshot:
		// Its folder is in work and goes with it, or the commit happened and
		// there is nothing left to do. Its source may still be frozen.
		return b.thaw(e.VolumeID)
	case volume.OpDelete:
		return b.finishDiscard("volumes", e.ID)
	case volume.OpDeleteSnapshot:
		return b.finishDiscard("snapshots", e.ID)
	case volume.OpExpand:
		return b.finishExpand(e)
	}
	return fmt.Errorf("operation %q: unknown", e.Op)
}

// thaw ends a freeze whose guard did not survive either.
func (b *Backend) thaw(id string) error {
	if id == "" {
		return nil
	}
	d, attached, err := b.attached(id, false)
	if err != nil || !attached {
		if absent(err) {
			return nil
		}
		return err
	}
	point, err := mountedAt(d)
	if err != nil || point == "" {
		return err
	}
	_, err = mount.Thaw(point)
	return err
}

func (b *Backend) finishDiscard(kind, id string) error {
	if _, err := os.Stat(b.pool.path(kind, id)); absent(err) {
		return nil
	} else if err != nil {
		return err
	}
	return b.move(kind, "trash", id)
}

func (b *Backend) finishExpand(e volume.Entry) error {
	var v volume.Volume
	err := atomicfile.ReadJSON(b.pool.path("volumes", e.ID, volumeName), &v)
	if absent(err) {
		return nil
	}
	if err != nil || v.Size > e.Size {
		return err
	}
	v.Size = e.Size
	return b.lengthen(v)
}

// empty removes everything in a folder.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(dir)
}
