package pool

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

// moment is what tells one state of a pool from another.
type moment struct {
	transactionID uint64
	blockBytes    uint64
	dataBytes     uint64
}

// momentOf reads it from the metadata of a pool that is not active.
func momentOf(node string) (moment, error) {
	r, err := thinmeta.OpenDevice(node)
	if err != nil {
		return moment{}, err
	}
	defer r.Close()
	m, err := thinmeta.Open(r)
	if err != nil {
		return moment{}, fmt.Errorf("%w; run `varve-devmapper pool check` and `varve-devmapper pool repair`: %w", err, errdefs.ErrUnavailable)
	}
	s := m.Superblock()
	data, _, _ := m.Usage()
	block := uint64(s.DataBlockSize) * sector
	return moment{s.TransactionID, block, data.Total * block}, nil
}

// compare refuses a pool and a catalog that do not belong to the same moment.
// A start that was cut off between its two records and the message in between
// leaves either of two ids.
func (r record) compare(is moment) error {
	switch {
	case is.blockBytes != r.BlockBytes:
		return fmt.Errorf("the pool has blocks of %d bytes, its catalog says %d: this is another pool: %w", is.blockBytes, r.BlockBytes, errdefs.ErrUnavailable)
	case r.DataBytes == 0: // never started
		return nil
	case is.dataBytes < r.DataBytes:
		return fmt.Errorf("the pool's data space has %d bytes, its catalog says %d: this is another pool, or its data device shrank: %w", is.dataBytes, r.DataBytes, errdefs.ErrUnavailable)
	case is.transactionID == r.TransactionID, r.Moving != 0 && is.transactionID == r.Moving:
		return nil
	case is.transactionID < r.TransactionID:
		return fmt.Errorf("the pool has been rolled back: its transaction id is %d, its catalog saw %d; its metadata were restored from an older copy, so thin devices made since are gone and their blocks may be overwritten. Nothing is written to it. Restore the newer metadata, or accept the loss: back up what is left, then `varve-devmapper pool destroy` and `pool create`: %w", is.transactionID, r.TransactionID, errdefs.ErrUnavailable)
	}
	return fmt.Errorf("the catalog has been rolled back, or another program writes to the pool: the pool's transaction id is %d, its catalog knows %d; thin ids given out since are unknown to it. Nothing is written. Restore the newer catalog, or make a new pool: %w", is.transactionID, r.TransactionID, errdefs.ErrUnavailable)
}
