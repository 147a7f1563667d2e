package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Audit compares records and disk both ways. With fix, what has no record
// goes to the trash; a record without its directory is only reported. Safe
// beside live calls: disk is read first, and records after every change that
// had begun by then has ended.
func (d *Driver) Audit(ctx context.Context, fix bool) (finding.List, error) {
	d.bin.Flush()
	disk, err := readDisk(d.layout)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := d.store.Settle(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	records, err := d.store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	// What was removed since the disk was read is no orphan, it is on its way
	// to the trash.
	if err := d.store.Settle(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	d.bin.Flush()
	disk = disk.stillThere()
	if fix {
		orphans, _ := compare(d.layout, disk, records)
		for _, path := range orphans {
			if err := d.discardOrphan(path); err != nil {
				return nil, fmt.Errorf("audit: %w", err)
			}
		}
	}
	list := report(d.layout, disk, records, fix)
	if _, failed := d.bin.Backlog(); failed > 0 {
		list = append(list, stuckFinding(d.layout, failed))
	}
	list.Sort()
	return list, nil
}

// report turns the differences into findings.
func report(l layout, disk onDisk, records []metadata.Record, fixed bool) finding.List {
	var list finding.List
	orphans, lost := compare(l, disk, records)
	for _, path := range orphans {
		list = append(list, orphanFinding(path, l.root, fixed))
	}
	for _, r := range lost {
		list = append(list, lostFinding(l, r))
	}
	list.Sort()
	return list
}

func (d *Driver) discardOrphan(path string) error {
	failpoint.Hit("overlay.audit.discard.before")
	defer failpoint.Hit("overlay.audit.discard.after")
	if filepath.Dir(path) == d.layout.usages() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return d.bin.Put(path)
}

// onDisk is what lies in the directories of a root, by full path.
type onDisk struct{ layers, works, usages []string }

// stillThere leaves out what has gone meanwhile.
func (o onDisk) stillThere() onDisk {
	gone := func(path string) bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	}
	return onDisk{
		slices.DeleteFunc(o.layers, gone), slices.DeleteFunc(o.works, gone), slices.DeleteFunc(o.usages, gone),
	}
}

func readDisk(l layout) (o onDisk, err error) {
	for dir, into := range map[string]*[]string{l.layers(): &o.layers, l.works(): &o.works, l.usages(): &o.usages} {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return onDisk{}, err
		}
		for _, e := range entries {
			*into = append(*into, filepath.Join(dir, e.Name()))
		}
	}
	return o, nil
}

// compare returns the paths without a record and the records without a
// layer. A View has no directory of its own; only an active snapshot has a
// work directory, and one that was just committed may still have it.
func compare(l layout, disk onDisk, records []metadata.Record) (orphans []string, lost []metadata.Record) {
	layers, works := map[string]bool{}, map[string]bool{}
	for _, r := range records {
		layers[l.layer(r.ID)] = r.Info.Kind != snapshots.KindView
		works[l.work(r.ID)] = r.Info.Kind == snapshots.KindActive
	}
	present := map[string]bool{}
	for _, p := range disk.layers {
		present[p] = true
		if !layers[p] {
			orphans = append(orphans, p)
		}
	}
	for _, p := range disk.works {
		if !works[p] {
			orphans = append(orphans, p)
		}
	}
	for _, p := range disk.usages {
		if !layers[filepath.Join(l.layers(), filepath.Base(p))] {
			orphans = append(orphans, p)
		}
	}
	for _, r := range records {
		if r.Info.Kind != snapshots.KindView && !present[l.layer(r.ID)] {
			lost = append(lost, r)
		}
	}
	return orphans, lost
}

func orphanFinding(path, root string, fixed bool) finding.Finding {
	f := finding.Finding{
		ID: "overlay.layer.orphan", Severity: finding.Warning, Object: path, Orphan: true,
		Text:    "no snapshot record belongs to this path",
		Meaning: "it takes space and serves nobody; a call that was killed half way leaves such a path until the next start",
		Command: "varve-overlay audit --fix --root " + root,
	}
	if fixed {
		f.Severity, f.Orphan, f.Command = finding.Info, false, ""
		f.Text = "no snapshot record belonged to this path; it was moved to the trash"
	}
	return f
}

func lostFinding(l layout, r metadata.Record) finding.Finding {
	return finding.Finding{
		ID: "overlay.layer.lost", Severity: finding.Error, Object: r.Info.Name,
		Text:    fmt.Sprintf("the %s snapshot's directory %s does not exist", strings.ToLower(r.Info.Kind.String()), l.layer(r.ID)),
		Meaning: "it was deleted from outside, or the disk lost it; the snapshot and all that are built on it cannot be mounted",
		Remedy:  "remove the snapshot and its children, and pull the image again",
	}
}

func stuckFinding(l layout, failed int) finding.Finding {
	return finding.Finding{
		ID: "overlay.trash.stuck", Severity: finding.Warning, Object: l.trash(),
		Text:    fmt.Sprintf("%d removed snapshots cannot be deleted", failed),
		Meaning: "their space is not freed; the daemon's log names each and why, and it tries again every minute",
		Remedy:  "see whether something is still mounted below that directory, and whether the disk reports errors",
	}
}
