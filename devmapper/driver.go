// Package devmapper is the devicemapper snapshotter: every snapshot is a thin
// device of one pool with a file system of its own on it, and its mount is a
// mount of that device.
//
// It owns the records (one bbolt file in the pool's catalog) and decides what
// thin devices there are and when they are active. The pool itself, its set-up
// and its fill are devmapper/pool's; the kernel's ioctls are devmapper/dm's.
// It mounts file systems only where nobody can see it, to measure, to grow or
// to have a journal replayed; the mounts it answers with are the consumer's.
// It knows nothing of how it is served; the server is snapshotter/server.
//
// A call that makes something has this order: a thin id from the pool (no
// write), the thin device (durable when the pool answers), its activation,
// and last one transaction with the snapshot's record and its device's. A
// crash in between leaves a device without a record, which the next start
// finds in the pool's own metadata and deletes. Removal has the other order:
// one transaction takes the record away and puts the device on a list, and
// what is on the list is deleted behind the answer, also after a crash.
package devmapper

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/containerd/log"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/probe"
	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Driver is an open pool with its snapshots. Its methods may be called
// concurrently.
type Driver struct {
	config    Config
	pool      pool.Devices
	store     *metadata.Store
	log       *log.Entry
	idmapped  *probe.Probe
	keys      keys
	flying    flying
	templates templates
	trash     *trash
	closing   sync.Once
	closed    error
}

var _ snapshotter.Driver = (*Driver)(nil)

// RecordsFile is the name of the records in the pool's catalog.
const RecordsFile = "snapshots.db"

// Open makes the driver ready on a pool that the caller has opened, and
// repairs what a killed predecessor left. It takes the pool over: Close
// closes it, and so does a failure of Open.
func Open(ctx context.Context, devices pool.Devices, config Config, logger *log.Entry) (*Driver, error) {
	d := &Driver{
		config: config, pool: devices, log: logger,
		idmapped:  IDMapped(devices.Catalog()),
		templates: templates{known: map[string]*kept{}},
	}
	err := config.Check()
	if err == nil {
		d.store, err = metadata.Open(ctx, filepath.Join(devices.Catalog(), RecordsFile))
	}
	if err == nil {
		d.trash = newTrash(d)
		err = d.repair(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("devmapper: %w", err), d.Close())
	}
	d.trash.start()
	return d, nil
}

// Capabilities says what this driver does on this kernel.
func (d *Driver) Capabilities() snapshotter.Capabilities { return capabilities(d.idmapped) }

func capabilities(idmapped *probe.Probe) snapshotter.Capabilities {
	return snapshotter.Capabilities{
		// Rebase is impossible: a device's blocks are those of the parent
		// that it was made from.
		RemapIDs:        idmapped.Have(),
		MaxSize:         true,
		GrowOnly:        true,
		CheapUsage:      true,
		Inodes:          true,
		BlockDevice:     true,
		DirectoryRename: true,
	}
}

// Cleanup returns once everything removed before the call is deleted.
func (d *Driver) Cleanup(ctx context.Context) error { return d.trash.wait(ctx) }

// Close ends background work and closes records and pool. The devices of
// snapshots stay as they are: containers run on them. What is still to be
// deleted is after the next Open. Further calls answer what the first did.
func (d *Driver) Close() error {
	d.closing.Do(func() {
		if d.trash != nil {
			d.trash.close()
		}
		if d.store != nil {
			d.closed = d.store.Close()
		}
		d.closed = errors.Join(d.closed, d.pool.Close())
	})
	return d.closed
}
