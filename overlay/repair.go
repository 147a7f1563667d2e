package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/snapshotter/labels"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// repair runs at every start: directories without a record go to the trash,
// and what a power cut took from snapshots that never synced it is made
// again.
func (d *Driver) repair(ctx context.Context) error {
	rebooted, err := d.rebooted()
	if err != nil {
		return err
	}
	records, err := d.store.List(ctx)
	if err != nil {
		return err
	}
	byName := make(map[string]metadata.Record, len(records))
	for _, r := range records {
		byName[r.Info.Name] = r
	}
	for _, r := range records {
		if err := d.remake(r, byName, rebooted); err != nil {
			return fmt.Errorf("snapshot %q: %w", r.Info.Name, err)
		}
	}
	list, err := d.Audit(ctx, true)
	if err != nil {
		return err
	}
	for _, f := range list {
		entry := d.log.WithField("finding", f.ID).WithField("object", f.Object)
		if f.Severity == finding.Error {
			entry.WithField("remedy", f.Remedy).Error(f.Text)
		} else {
			entry.Info(f.Text)
		}
	}
	return d.keepBoot()
}

// remake makes the directories of a record that has none. It is right only
// where they may be empty: a work directory always, a layer that was empty
// when it was committed, and after a reboot the layer of an active snapshot,
// since a file system that had kept anything synced in it would have kept it
// too. Everything else is a loss, which Audit reports.
func (d *Driver) remake(r metadata.Record, byName map[string]metadata.Record, rebooted bool) error {
	if r.Info.Kind == snapshots.KindView {
		return nil
	}
	active := r.Info.Kind == snapshots.KindActive
	layer, err := exists(d.layout.layer(r.ID))
	if err != nil {
		return err
	}
	if !layer && (active && rebooted || !active && r.Usage.Inodes == 1) {
		top, err := d.firstTop(r, byName)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the parent's own loss is reported
		}
		if err != nil {
			return err
		}
		failpoint.Hit("overlay.repair.layer.before")
		if err := os.Mkdir(d.layout.layer(r.ID), 0o755); err != nil {
			return err
		}
		if err := top.write(d.layout.layer(r.ID)); err != nil {
			return err
		}
		failpoint.Hit("overlay.repair.layer.after")
		d.log.WithField("snapshot", r.Info.Name).Warn("made a snapshot's directory again that a reboot lost; nothing in it had been synced")
	}
	if !active {
		return nil
	}
	work, err := exists(d.layout.work(r.ID))
	if err != nil || work {
		return err
	}
	return os.Mkdir(d.layout.work(r.ID), 0o711)
}

// firstTop is what Prepare gave the snapshot's top directory.
func (d *Driver) firstTop(r metadata.Record, byName map[string]metadata.Record) (topDir, error) {
	request, err := labels.Parse(r.Info.Labels)
	if err != nil {
		return topDir{}, err
	}
	top := plainTop
	if p, ok := byName[r.Info.Parent]; ok && r.Info.Kind == snapshots.KindActive {
		if top, err = readTop(d.layout.layer(p.ID)); err != nil {
			return topDir{}, err
		}
	}
	if request.IDs != nil {
		top.uid, top.gid = request.IDs.Root()
	}
	return top, nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// rebooted tells whether the machine was started since the last start of the
// daemon; on a new root it says no.
func (d *Driver) rebooted() (bool, error) {
	last, err := os.ReadFile(d.layout.bootID())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now, err := bootID()
	return strings.TrimSpace(string(last)) != now, err
}

func (d *Driver) keepBoot() error {
	now, err := bootID()
	if err != nil {
		return err
	}
	return atomicfile.Write(d.layout.bootID(), []byte(now+"\n"), 0o600)
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}
