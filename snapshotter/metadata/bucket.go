package metadata

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	bolt "go.etcd.io/bbolt"
)

// ownPrefix keeps a driver's buckets apart from those of containerd's storage
// package, which are named by its schema version ("v1").
const ownPrefix = "varve-"

type txKey struct{}

// carry puts the transaction into the context that it is run with, beside
// where the storage package keeps it, which lets nobody get at it.
func carry(ctx context.Context, t storage.Transactor) context.Context {
	return context.WithValue(ctx, txKey{}, t)
}

// Bucket returns a bucket of the driver's own in the transaction that ctx
// carries: what the driver keeps there is committed together with the
// snapshot's record, or not at all. In a read transaction it is nil as long
// as nothing was ever written to it. It is valid until the transaction ends.
func Bucket(ctx context.Context, name string) (*bolt.Bucket, error) {
	tx, ok := ctx.Value(txKey{}).(*bolt.Tx)
	if !ok {
		return nil, fmt.Errorf("bucket %s: %w", name, errNoTransaction)
	}
	if !tx.Writable() {
		return tx.Bucket([]byte(ownPrefix + name)), nil
	}
	b, err := tx.CreateBucketIfNotExists([]byte(ownPrefix + name))
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return b, nil
}

// errNoTransaction is a mistake of the caller's: the context is not the one
// that Read, Check or Apply was given.
var errNoTransaction = errors.New("the context carries no transaction of a metadata store")
