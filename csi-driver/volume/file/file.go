// Package file is the back end that keeps volumes as sparse files, attached
// through loop devices. Snapshots and clones are reflinks, so they cost no
// copying and no room until something is rewritten.
//
// It owns one folder, the pool:
//
//	POOL/volumes/ID/{image,volume.json}      what exists
//	POOL/snapshots/ID/{image,snapshot.json}
//	POOL/work/ID/    being made: nobody knows its id yet; the rename into
//	                 volumes or snapshots is the commit
//	POOL/trash/ID/   being removed; the rename out of volumes is the commit
//	POOL/journal/    one intent per operation under way
//
// Where the folder's file system has no reflinks, all this is inside an XFS
// file system of the pool's own: POOL/store.xfs, mounted on POOL/store.
//
// It touches nothing outside of the pool but loop devices over its own images.
// What a device is used for (mounts, pods) is the node service's business.
package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// Config says where the pool is and how much it may promise.
type Config struct {
	// Dir is the pool's folder. It is made when absent; its parent must exist.
	Dir string
	// StoreSize is how many bytes POOL/store.xfs has, if there is one: at least
	// that many, since a store grows but never shrinks. 0 leaves an existing
	// store as it is and gives a new one four fifths of the free space.
	StoreSize int64
	// Overcommit is how many bytes may be promised for each byte there is. With
	// 1 no volume ever runs out of room before it is full.
	Overcommit float64
	// Freezer freezes mounted volumes for snapshots.
	Freezer mount.Freezer
}

// Backend is an open pool. Only one may be open on a folder at a time; the
// daemon's lock on its root sees to that.
type Backend struct {
	config  Config
	pool    pool
	journal *volume.Journal
	catalog catalog
	// reserving is held while room is compared and set aside.
	reserving sync.Mutex
}

var _ volume.Backend = (*Backend)(nil)

// Open makes or opens the pool, mounts its store, and finishes or undoes what
// a crash cut short. Close releases it.
func Open(ctx context.Context, config Config) (*Backend, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	p, err := openPool(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", config.Dir, err)
	}
	b := &Backend{config: config, pool: p}
	if err := b.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("pool %s: %w", config.Dir, err), p.close())
	}
	return b, nil
}

func (c Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("pool: no folder given")
	case c.StoreSize < 0:
		return fmt.Errorf("store size %d: must not be negative", c.StoreSize)
	case c.Overcommit < 1:
		return fmt.Errorf("overcommit %v: must be at least 1", c.Overcommit)
	}
	return nil
}

func (b *Backend) load() (err error) {
	if b.pool.device, err = b.pool.number(); err != nil {
		return err
	}
	if err := b.pool.makeFolders(); err != nil {
		return err
	}
	journal, err := volume.OpenJournal(b.pool.path("journal"))
	if err != nil {
		return err
	}
	b.journal = journal
	if err := b.repair(); err != nil {
		return err
	}
	return b.catalog.load(b.pool)
}

// Healthy says what keeps the pool from working, if anything does.
func (b *Backend) Healthy() error { return b.pool.present() }

// Close unmounts the store unless a volume is attached: devices, and the pods
// that use them, outlive the daemon.
func (b *Backend) Close() error {
	if err := b.pool.close(); err != nil {
		return fmt.Errorf("pool %s: %w", b.config.Dir, err)
	}
	return nil
}

// remove deletes a tree and makes that durable.
func remove(dir, parent string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return syncDir(parent)
}
