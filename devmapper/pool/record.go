package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/atomicfile"
)

// recordFile is this package's own file in the catalog.
const recordFile = "pool.json"

// recordVersion is raised when an older program could no longer read the
// record rightly.
const recordVersion = 1

// record is pool.json.
type record struct {
	Version int `json:"version"`
	// UUID is the pool's identity, that of the catalog's file system too.
	UUID string `json:"uuid"`
	// Volume is the LVM UUID of the pool's logical volume, so that a catalog
	// is never taken for another pool's; empty without LVM.
	Volume string `json:"volume,omitempty"`
	// BlockBytes is the pool's block size.
	BlockBytes uint64 `json:"blockBytes"`
	// DataBytes is the least that the pool's data space can be: what it has
	// been. 0 until the first start.
	DataBytes uint64 `json:"dataBytes"`
	// Zero: blocks are zeroed before their first use. LVM keeps this itself.
	Zero bool `json:"zero,omitempty"`
	// TransactionID is the pool's since the last start. Moving is the one
	// that a start was about to set; 0 when that is done.
	TransactionID uint64 `json:"transactionID"`
	Moving        uint64 `json:"moving,omitempty"`
	// NextID: all ids below have been given out, or may have been.
	NextID ThinID `json:"nextID"`
	// Foreign are ids that somebody else made and that were adopted: never
	// given out, never reclaimed.
	Foreign []ThinID `json:"foreign,omitempty"`
}

func (r record) check(where string) error {
	wrong := ""
	switch {
	case r.Version != recordVersion:
		return fmt.Errorf("%s has version %d, this program knows %d: use the program that wrote it, or a newer one: %w", where, r.Version, recordVersion, errdefs.ErrFailedPrecondition)
	case r.UUID == "":
		wrong = "uuid is empty"
	case r.BlockBytes == 0 || r.BlockBytes%(64<<10) != 0 || r.BlockBytes > 1<<30:
		wrong = fmt.Sprintf("blockBytes is %d, not a multiple of 64 KiB up to 1 GiB", r.BlockBytes)
	case r.NextID == 0 || r.NextID > maxID+1:
		wrong = fmt.Sprintf("nextID is %d, not 1 to %d", r.NextID, maxID+1)
	}
	if wrong != "" {
		return fmt.Errorf("%s is damaged: %s: %w", where, wrong, errdefs.ErrDataLoss)
	}
	return nil
}

// ledger keeps the record: in memory as it is on the disk. Its lock is held
// over the write, so only those wait who need the disk's answer anyway.
type ledger struct {
	path string

	mu  sync.Mutex
	rec record
}

func openLedger(dir string) (*ledger, error) {
	l := &ledger{path: filepath.Join(dir, recordFile)}
	switch err := atomicfile.ReadJSON(l.path, &l.rec); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the catalog has no %s: its making was cut off; run `varve-devmapper pool create` again: %w", recordFile, errdefs.ErrFailedPrecondition)
	case err != nil:
		return nil, fmt.Errorf("read the pool's record: %w", err)
	}
	if err := l.rec.check(l.path); err != nil {
		return nil, err
	}
	// Nobody else writes here: the caller holds the pool's lock.
	return l, atomicfile.Clean(dir)
}

// get returns a copy of the record.
func (l *ledger) get() record {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rec
	r.Foreign = slices.Clone(r.Foreign)
	return r
}

// update writes a changed record durably. When the write fails, the record is
// as before, in memory; on the disk it may be either.
func (l *ledger) update(change func(*record)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rec
	r.Foreign = slices.Clone(r.Foreign)
	change(&r)
	if err := atomicfile.WriteJSON(l.path, r); err != nil {
		return fmt.Errorf("write the pool's record: %w", err)
	}
	l.rec = r
	return nil
}
