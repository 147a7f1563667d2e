package file

import (
	"fmt"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/finding"
)

// scarce is the share of the store, in percent, below which its free space is
// worth a warning.
const scarce = 10

// room compares what was promised with what there is.
func (d *doctor) room() error {
	b := &Backend{config: d.config, pool: d.pool}
	var err error
	if b.pool.device, err = b.pool.number(); err != nil {
		return err
	}
	if b.catalog.volumes, err = readRecords[volume.Volume](d.pool.path("volumes"), volumeName); err != nil {
		return nil // named by records already
	}
	if b.catalog.snapshots, err = readRecords[volume.Snapshot](d.pool.path("snapshots"), snapshotName); err != nil {
		return nil
	}
	c, err := b.Capacity()
	if err != nil {
		return err
	}
	used, writable, err := b.room()
	if err != nil {
		return err
	}
	if c.Promised > c.Total {
		d.add(finding.Finding{
			ID: "csi.store.overcommitted", Severity: finding.Warning, Object: d.pool.base,
			Text:    fmt.Sprintf("Volumes and snapshots were promised %d bytes, the store can keep %d.", c.Promised, c.Total),
			Meaning: "Writers may run out of room before their volumes are full. The disk below was filled by others, or overcommit was lowered.",
			Remedy:  "Free space on the disk below, enlarge it, or remove volumes and snapshots.",
			Command: "df -h " + d.pool.dir,
		})
	}
	if writable < (used+writable)/100*scarce {
		d.add(finding.Finding{
			ID: "csi.store.nearly-full", Severity: finding.Warning, Object: d.pool.base,
			Text:    fmt.Sprintf("%d bytes can still be written to the store, %d are used.", writable, used),
			Meaning: "Soon new volumes are refused; with overcommit, writers of existing ones fail.",
			Remedy:  "Remove snapshots and volumes, or enlarge the store or the disk below.",
			Command: "df -h " + d.pool.dir + " " + d.pool.base,
		})
	}
	return nil
}
