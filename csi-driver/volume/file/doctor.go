package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/mount"
)

// settled is the age from which on something half done belongs to no call of a
// running daemon any more.
const settled = time.Minute

// restart makes the daemon repair what is half done.
const restart = "systemctl restart varve-csi"

// Doctor reports what is wrong with a pool, whether a daemon has it open or
// not, and changes nothing. Staged tells which volumes are supposed to have
// devices. A pool that was never made is healthy.
func Doctor(_ context.Context, config Config, staged func(id string) bool) (finding.List, error) {
	d := doctor{config: config, staged: staged, pool: pool{dir: config.Dir, base: config.Dir}}
	looks := []func() error{d.leftovers, d.journal, d.records, d.devices, d.room}
	store := filepath.Join(config.Dir, "store.xfs")
	if _, err := os.Stat(store); err == nil {
		d.pool.store, d.pool.base = store, filepath.Join(config.Dir, "store")
		mounted, err := d.storeFile()
		if err != nil {
			return nil, err
		}
		if !mounted {
			return d.list, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(d.pool.path("volumes")); errors.Is(err, os.ErrNotExist) {
		return d.list, nil
	}
	for _, look := range looks {
		if err := look(); err != nil {
			return nil, fmt.Errorf("pool %s: %w", config.Dir, err)
		}
	}
	return d.list, nil
}

type doctor struct {
	config Config
	pool   pool
	staged func(id string) bool
	list   finding.List
}

func (d *doctor) add(f finding.Finding) { d.list = append(d.list, f) }

func (d *doctor) storeFile() (mounted bool, err error) {
	d.add(finding.Finding{
		ID: "csi.store.no-reflink", Severity: finding.Info, Object: d.pool.dir,
		Text:    "The pool's file system cannot share blocks between files, so volumes live in an XFS file inside it.",
		Meaning: "It works, with one more layer below every volume.",
		Remedy:  "For more speed set pool to a folder on XFS or btrfs; volumes do not move by themselves.",
	})
	dev, attached, err := storeDevice(d.pool.store)
	if err != nil {
		return false, err
	}
	at, err := mount.At(d.pool.base)
	if err != nil {
		return false, err
	}
	if attached && len(at) > 0 && at[len(at)-1].Device == dev.Number {
		return true, nil
	}
	d.add(finding.Finding{
		ID: "csi.store.not-mounted", Severity: finding.Info, Object: d.pool.store,
		Text:    "The store is not mounted, so its volumes could not be looked at.",
		Meaning: "The daemon mounts it; that is how it is while none runs and no volume is in use.",
		Command: "systemctl start varve-csi",
	})
	return false, nil
}

// leftovers looks for folders that a start of the daemon would remove.
func (d *doctor) leftovers() error {
	for _, name := range []string{"work", "trash"} {
		entries, err := os.ReadDir(d.pool.path(name))
		if err != nil {
			return err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || time.Since(info.ModTime()) < settled {
				continue
			}
			d.add(finding.Finding{
				ID: "csi.pool.leftover", Severity: finding.Warning, Object: d.pool.path(name, e.Name()),
				Text:    "A volume or snapshot was being made or removed, and that never ended.",
				Meaning: "It takes room; nobody knows it.",
				Command: restart,
			})
		}
	}
	return nil
}

func (d *doctor) journal() error {
	entries, err := volume.ReadJournal(d.pool.path("journal"))
	if err != nil {
		d.add(finding.Finding{
			ID: "csi.journal.unreadable", Severity: finding.Error, Object: d.pool.path("journal"),
			Text:    err.Error(),
			Meaning: "The daemon does not start: it will not guess what was under way.",
			Remedy:  "Move the file away, then check the volume that it is named after.",
		})
		return nil
	}
	for _, e := range entries {
		if time.Since(e.Started) < settled {
			continue
		}
		d.add(finding.Finding{
			ID: "csi.journal.unfinished", Severity: finding.Warning, Object: e.ID,
			Text:    fmt.Sprintf("The operation %q, begun %s, is not finished.", e.Op, e.Started.Format(time.RFC3339)),
			Meaning: "A crash or an error cut it short; the daemon's next start finishes or undoes it.",
			Command: restart,
		})
	}
	return nil
}

// records compares each volume's and snapshot's record with its image.
func (d *doctor) records() error {
	for _, kind := range []struct{ folder, record string }{{"volumes", volumeName}, {"snapshots", snapshotName}} {
		entries, err := os.ReadDir(d.pool.path(kind.folder))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := d.object(kind.folder, e.Name(), kind.record); err != nil {
				d.add(finding.Finding{
					ID: "csi.pool.damaged", Severity: finding.Error, Object: d.pool.path(kind.folder, e.Name()),
					Text:    err.Error(),
					Meaning: "What is kept here cannot be used, or the daemon will not start.",
					Remedy:  "Restore it from a backup, or move the folder out of the pool.",
				})
			}
		}
	}
	return nil
}

func (d *doctor) object(folder, id, name string) error {
	if volume.ValidID(id) != nil {
		return fmt.Errorf("%s is no volume or snapshot of this driver", id)
	}
	var record struct {
		ID   string
		Size int64
	}
	if err := atomicfile.ReadJSON(d.pool.path(folder, id, name), &record); err != nil {
		return gone(d.pool.path(folder, id), err)
	}
	if record.ID != id {
		return fmt.Errorf("the record is that of %q", record.ID)
	}
	info, err := os.Stat(d.pool.image(folder, id))
	if err != nil {
		return gone(d.pool.path(folder, id), err)
	}
	if info.Size() < record.Size {
		return fmt.Errorf("the image has %d bytes, its record says %d", info.Size(), record.Size)
	}
	return nil
}

// gone returns nil for an object that was deleted while it was looked at.
func gone(dir string, err error) error {
	if _, stat := os.Stat(dir); errors.Is(stat, os.ErrNotExist) {
		return nil
	}
	return err
}

// devices looks for loop devices that belong to no staged volume.
func (d *doctor) devices() error {
	own, err := d.pool.devices()
	if err != nil {
		return err
	}
	for _, dev := range own {
		id := filepath.Base(filepath.Dir(dev.Backing))
		if !dev.Deleted && d.staged(id) {
			continue
		}
		f := finding.Finding{
			ID: "csi.loop.leaked", Severity: finding.Warning, Object: dev.Path, Orphan: true,
			Text:    fmt.Sprintf("The device carries volume %s, which is not staged.", id),
			Meaning: "The volume cannot be deleted, and its store cannot be unmounted.",
			Command: "losetup -d " + dev.Path,
		}
		if dev.Deleted {
			f.ID, f.Text = "csi.loop.deleted", fmt.Sprintf("The device carries %s, which was deleted.", strings.TrimPrefix(dev.Backing, d.pool.base+"/"))
			f.Meaning = "The room that it takes is not given back."
		}
		if mounts, err := mount.Of(dev.Number); err != nil {
			return err
		} else if len(mounts) > 0 {
			f.Orphan = false // in use, by whomever
			f.Remedy = fmt.Sprintf("It is mounted on %s: unmount it there first.", mounts[0].Point)
		}
		d.add(f)
	}
	return nil
}
