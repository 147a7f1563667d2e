package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	bolt "go.etcd.io/bbolt"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/flock"
)

// transactor opens the metadata file for each transaction and closes it
// again, so that any number of processes share it. bbolt has a lock of its
// own but polls for it every 50 ms; ours is taken first, blocks in the kernel,
// and leaves bbolt's free.
type transactor struct {
	path string
	// gate is passed by every Update, nil inside a collection, which holds it.
	gate *gate
}

var _ metadata.Transactor = (*transactor)(nil)

// View runs fn in a read transaction; readers run side by side.
func (t *transactor) View(fn func(*bolt.Tx) error) error {
	lock, err := flock.AcquireShared(t.lockPath())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	db, err := openBolt(t.path, true)
	if err != nil {
		return err
	}
	return errors.Join(db.View(fn), db.Close())
}

// Update runs fn in a write transaction, alone among all processes.
func (t *transactor) Update(fn func(*bolt.Tx) error) error {
	if t.gate != nil {
		pass, err := t.gate.pass()
		if err != nil {
			return err
		}
		defer func() { _ = pass.Release() }()
	}
	lock, err := flock.Acquire(t.lockPath())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	db, err := openBolt(t.path, false)
	if err != nil {
		return err
	}
	failpoint.Hit("image.metadata.update.before")
	// Not joined: containerd's metadata compares what it gets by ==.
	err = db.Update(fn)
	failpoint.Hit("image.metadata.update.after")
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	return err
}

func (t *transactor) lockPath() string { return t.path + ".lock" }

// init makes the file with containerd's schema when there is none, in one
// step: a crash leaves a complete file or none.
func (t *transactor) init(ctx context.Context) error {
	if _, err := os.Stat(t.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lock, err := flock.Acquire(t.lockPath())
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	if _, err := os.Stat(t.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := t.path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := openBolt(fresh, false)
	if err != nil {
		return err
	}
	if err := errors.Join(metadata.NewDB(db, nil, nil).Init(ctx), db.Close()); err != nil {
		return fmt.Errorf("make image metadata %s: %w", fresh, err)
	}
	failpoint.Hit("image.metadata.create.before")
	if err := os.Rename(fresh, t.path); err != nil {
		return err
	}
	failpoint.Hit("image.metadata.create.after")
	return atomicfile.SyncDir(filepath.Dir(t.path))
}

func openBolt(path string, readOnly bool) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: readOnly, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("open image metadata %s: %w; if the file is damaged, move it away and load the images again", path, err)
	}
	return db, nil
}

// view runs fn in one read transaction: every call to the metadata stores
// with the context given sees the same state and opens nothing again.
func (s *Store) view(ctx context.Context, fn func(ctx context.Context, tx *bolt.Tx) error) error {
	return s.db.View(func(tx *bolt.Tx) error { return fn(boltutil.WithTransaction(ctx, tx), tx) })
}

// update is view for one write transaction.
func (s *Store) update(ctx context.Context, fn func(ctx context.Context) error) error {
	return s.db.Update(func(tx *bolt.Tx) error { return fn(boltutil.WithTransaction(ctx, tx)) })
}

// seed makes the sequence by which metadata names layers start at the time of
// day. From 1, names would be given out again after the metadata was lost,
// while the snapshotter still has them from before: a Commit would find its
// name taken and the old layer would pass for the new one.
func (s *Store) seed() error {
	seeded := false
	if err := s.db.View(func(tx *bolt.Tx) error {
		seeded = bucketAt(tx, "snapshots", s.opts.Snapshotter) != nil
		return nil
	}); err != nil || seeded {
		return err
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		if bucketAt(tx, "snapshots", s.opts.Snapshotter) != nil {
			return nil
		}
		bucket, err := tx.CreateBucketIfNotExists([]byte("v1"))
		for _, key := range []string{Namespace, "snapshots", s.opts.Snapshotter} {
			if err != nil {
				return err
			}
			bucket, err = bucket.CreateBucketIfNotExists([]byte(key))
		}
		if err != nil {
			return err
		}
		return bucket.SetSequence(uint64(time.Now().UnixNano()))
	})
}

// bucketAt finds a bucket of this store's namespace, nil when there is none.
// The way of the buckets is part of containerd's schema v1
// (core/metadata/buckets.go), which has no calls for what is wanted here.
func bucketAt(tx *bolt.Tx, path ...string) *bolt.Bucket {
	bucket := tx.Bucket([]byte("v1"))
	for _, key := range append([]string{Namespace}, path...) {
		if bucket == nil {
			return nil
		}
		bucket = bucket.Bucket([]byte(key))
	}
	return bucket
}

// backendName is the name under which the snapshotter itself knows a layer;
// "" when the metadata does not have it.
func backendName(tx *bolt.Tx, snapshotter, name string) string {
	bucket := bucketAt(tx, "snapshots", snapshotter, name)
	if bucket == nil {
		return ""
	}
	return string(bucket.Get([]byte("name")))
}
