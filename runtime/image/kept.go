package image

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/content"
	bolt "go.etcd.io/bbolt"
)

// kept is what the metadata refers to after a collection.
type kept struct {
	blobs     map[string]bool // by digest
	ingests   map[string]bool // by the local store's ref
	snapshots map[string]bool // by the snapshotter's name
}

// collectorBolt is the transactor of one collection. After the marking and
// removing it notes what is left, and on a dry run rolls all of it back.
type collectorBolt struct {
	transactor
	snapshotter string
	dryRun      bool
	kept        kept
}

var errDryRun = errors.New("dry run")

func (c *collectorBolt) Update(fn func(*bolt.Tx) error) error {
	err := c.transactor.Update(func(tx *bolt.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		c.kept = keptIn(tx, c.snapshotter)
		if c.dryRun {
			return errDryRun
		}
		return nil
	})
	if errors.Is(err, errDryRun) {
		return nil
	}
	return err
}

func keptIn(tx *bolt.Tx, snapshotter string) kept {
	k := kept{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	each(tx, func(key string, _ *bolt.Bucket) { k.blobs[key] = true }, "content", "blob")
	each(tx, func(_ string, b *bolt.Bucket) { k.ingests[string(b.Get([]byte("ref")))] = true }, "content", "ingests")
	each(tx, func(_ string, b *bolt.Bucket) { k.snapshots[string(b.Get([]byte("name")))] = true }, "snapshots", snapshotter)
	return k
}

// each calls fn for the buckets under v1/NAMESPACE/path.
func each(tx *bolt.Tx, fn func(key string, b *bolt.Bucket), path ...string) {
	bucket := bucketAt(tx, path...)
	if bucket == nil {
		return
	}
	_ = bucket.ForEachBucket(func(key []byte) error {
		fn(string(key), bucket.Bucket(key))
		return nil
	})
}

// noContent is the content store that metadata's own sweep sees: none, since
// sweepContent does that, level-triggered and with a dry run.
type noContent struct{ content.Store }

func (noContent) Walk(context.Context, content.WalkFunc, ...string) error { return nil }
func (noContent) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, nil
}
