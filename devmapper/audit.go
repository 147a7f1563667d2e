package devmapper

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/finding"
)

// Audit compares the records with the pool's own list of thin devices, both
// ways. With fix, devices that no record names are deleted; a record without
// its device is only reported. Safe beside live calls.
func (d *Driver) Audit(ctx context.Context, fix bool) (finding.List, error) {
	list, err := d.audit(ctx, fix)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return list, nil
}

func (d *Driver) audit(ctx context.Context, fix bool) (finding.List, error) {
	thins, err := d.thins(ctx)
	if err != nil {
		return nil, err
	}
	list, err := d.compare(ctx, thins)
	if err != nil {
		return nil, err
	}
	if fix {
		failpoint.Hit("devmapper.audit.reclaim.before")
		gone, err := d.pool.Reclaim(ctx, d.owned(ctx))
		if err != nil {
			return nil, err
		}
		failpoint.Hit("devmapper.audit.reclaim.after")
		list = slices.DeleteFunc(list, func(f finding.Finding) bool { return f.ID == orphanID && contains(gone, f.Object) })
		for _, id := range gone {
			list = append(list, reclaimedFinding(id))
		}
	}
	if _, failed := d.trash.backlog(); failed > 0 {
		list = append(list, stuckFinding(failed))
	}
	list.Sort()
	return list, nil
}

func contains(ids []pool.ThinID, object string) bool {
	return slices.ContainsFunc(ids, func(id pool.ThinID) bool { return thinName(id) == object })
}

// compare holds the pool's list against the records. A record that appeared
// after the list was made is not missing its device, and a device whose record
// has just gone is no orphan: both are asked for once more.
func (d *Driver) compare(ctx context.Context, thins map[pool.ThinID]bool) (finding.List, error) {
	var list finding.List
	owned := d.owned(ctx)
	for id := range thins {
		if !owned(id) {
			list = append(list, orphanFinding(id))
		}
	}
	records, err := d.store.List(ctx)
	if err != nil {
		return nil, err
	}
	var again map[pool.ThinID]bool // the pool's list after the records
	for _, r := range records {
		r, dev, err := d.find(ctx, r.Info.Name)
		switch {
		case err != nil:
			if _, gone := d.store.Get(ctx, r.Info.Name); gone == nil {
				list = append(list, lostFinding(r.Info, err.Error()))
			}
			continue
		case thins[dev.Thin] || again[dev.Thin]:
			continue
		case again == nil:
			if again, err = d.thins(ctx); err != nil {
				return nil, err
			}
		}
		now, current, err := d.find(ctx, r.Info.Name)
		if !again[dev.Thin] && err == nil && now.ID == r.ID && current.Thin == dev.Thin {
			list = append(list, lostFinding(r.Info, fmt.Sprintf("its thin device %d is not in the pool", dev.Thin)))
		}
	}
	list.Sort()
	return list, nil
}

const orphanID = "devmapper.thin.orphan"

func thinName(id pool.ThinID) string { return fmt.Sprintf("thin %d", id) }

func orphanFinding(id pool.ThinID) finding.Finding {
	return finding.Finding{
		ID: orphanID, Severity: finding.Warning, Object: thinName(id), Orphan: true,
		Text:    "no record names this thin device",
		Meaning: "it takes space and serves nobody; a call that was killed half way leaves such a device until the next start. One that stays after --fix was made by another program",
		Command: "varve-devmapper audit --fix",
	}
}

func reclaimedFinding(id pool.ThinID) finding.Finding {
	return finding.Finding{
		ID: orphanID, Severity: finding.Info, Object: thinName(id),
		Text: "no record named this thin device; it was deleted",
	}
}

func lostFinding(info snapshots.Info, why string) finding.Finding {
	return finding.Finding{
		ID: "devmapper.thin.lost", Severity: finding.Error, Object: info.Name,
		Text:    fmt.Sprintf("snapshot of kind %s: %s", info.Kind, why),
		Meaning: "the pool's metadata was rolled back or repaired with losses; the snapshot and all that are built on it cannot be mounted",
		Remedy:  "remove the snapshot and its children, and pull the image again",
	}
}

func stuckFinding(failed int) finding.Finding {
	return finding.Finding{
		ID: "devmapper.trash.stuck", Severity: finding.Warning,
		Text:    fmt.Sprintf("the devices of %d removed snapshots cannot be deleted", failed),
		Meaning: "their space is not freed; the daemon's log names each and why, and it tries again every minute",
		Remedy:  "see whether something still has them open (dmsetup info), and whether the pool can be written (varve-devmapper pool status)",
	}
}
