// Package metadata keeps the records of a snapshotter: containerd's own
// snapshot store (core/snapshots/storage, one bbolt file), with two things
// that the store itself lacks.
//
// Group commit: writers that arrive while a commit is on its way to the disk
// share the next one, so that fifty clients do not wait for fifty syncs one
// after another. A writer that finds nobody at work commits by itself, which
// costs it no more than a transaction of its own would. And reads that are whole: a list is collected inside the
// transaction and handed out behind it, so that nobody's slow reader pins
// the database.
//
// The package owns the file and its transactions. It never touches what the
// records stand for; the directories are the driver's.
package metadata

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockTimeout bounds the wait for the file's lock. The daemon holds a lock
// on its root already, so only a foreign tool can be in the way.
const lockTimeout = 5 * time.Second

// Store is an open record store. Its methods may be called concurrently.
type Store struct {
	ms *storage.MetaStore

	mu      sync.Mutex
	waiting []*call // empty while nobody leads
	leading bool    // somebody commits a batch
	closed  bool
	idle    sync.Cond // leading has ended
}

// Record is one snapshot as the store knows it.
type Record struct {
	// ID is the store's own number of the snapshot, never used twice.
	ID   string
	Info snapshots.Info
	// Usage is what Commit left; it means nothing for other kinds.
	Usage snapshots.Usage
}

// Open opens or creates the store at path. Close it exactly once.
func Open(ctx context.Context, path string) (*Store, error) {
	ms, err := storage.NewMetaStore(path, func(o *bolt.Options) error {
		o.Timeout = lockTimeout
		// The freelist is found again by scanning on open; not writing it
		// with every commit is what keeps commits small on a big store.
		o.NoFreelistSync = true
		o.FreelistType = bolt.FreelistMapType
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("metadata %s: %w", path, err)
	}
	s := &Store{ms: ms}
	s.idle.L = &s.mu
	// The store opens its file with the first transaction; do that here, so
	// that a damaged or locked file fails the start and not the first call.
	if err := s.Read(ctx, func(context.Context) error { return nil }); err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			err = fmt.Errorf("%w: another process has it open; end that process first", err)
		}
		return nil, fmt.Errorf("metadata %s: %w", path, err)
	}
	return s, nil
}

// Close waits for the batch under way and closes the file. Calls of Write
// that have not begun fail.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, c := range s.waiting {
		c.answer <- errClosed
	}
	s.waiting = nil
	for s.leading {
		s.idle.Wait()
	}
	s.mu.Unlock()
	return s.ms.Close()
}

// Read runs fn in a read transaction; the storage package's functions take
// the context it is given. fn must not block.
func (s *Store) Read(ctx context.Context, fn func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, t, err := s.ms.TransactionContext(ctx, false)
	if err != nil {
		return err
	}
	return errors.Join(fn(carry(tx, t)), t.Rollback())
}

// Get returns the record of key. The error wraps errdefs.ErrNotFound when
// there is none.
func (s *Store) Get(ctx context.Context, key string) (r Record, err error) {
	err = s.Read(ctx, func(ctx context.Context) error {
		r, err = get(ctx, key)
		return err
	})
	return r, err
}

func get(ctx context.Context, key string) (r Record, err error) {
	r.ID, r.Info, r.Usage, err = storage.GetInfo(ctx, key)
	if err != nil {
		return Record{}, fmt.Errorf("snapshot %q: %w", key, err)
	}
	return r, nil
}

// List returns every record that the filters let through, in key order. A
// store that has never held a snapshot answers with none, where the bare
// storage package says NotFound.
func (s *Store) List(ctx context.Context, filters ...string) (list []Record, err error) {
	err = s.Read(ctx, func(ctx context.Context) error {
		return storage.WalkInfo(ctx, func(ctx context.Context, info snapshots.Info) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := get(ctx, info.Name)
			if err != nil {
				return err
			}
			list = append(list, r)
			return nil
		}, filters...)
	})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return list, nil
}

// ReadFile returns the records of a store that no process has open, and
// changes nothing. The error wraps fs.ErrNotExist where there is none.
func ReadFile(ctx context.Context, path string) ([]Record, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	ms, err := storage.NewMetaStore(path, func(o *bolt.Options) error {
		o.ReadOnly, o.Timeout = true, lockTimeout
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("metadata %s: %w", path, err)
	}
	list, err := (&Store{ms: ms}).List(ctx)
	return list, errors.Join(err, ms.Close())
}
