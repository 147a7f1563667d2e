package devmapper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// The driver's buckets in snapshots.db, beside containerd's records and
// changed in the same transactions. All values are JSON.
const (
	// deviceBucket: the store's number of a snapshot to its device.
	deviceBucket = "devices"
	// templateBucket: format.Spec.Key to template.
	templateBucket = "templates"
	// trashBucket: a thin id to refuse, the journal of what must still be
	// deleted.
	trashBucket = "trash"
)

// device is the thin device of a snapshot.
type device struct {
	Thin   pool.ThinID `json:"thin"`
	FSType string      `json:"fs"`
	// Bytes is the size of the device and of the file system on it.
	Bytes int64 `json:"bytes"`
	// Growing: the file system may be smaller than the device, since an Update
	// that was to grow it has not ended.
	Growing bool `json:"growing,omitempty"`
	// Base is what the file system held when the snapshot was made: the
	// parent's, and none of it counts as the snapshot's own.
	Base fill `json:"base"`
	// Held is what the file system of a committed snapshot holds in all.
	Held fill `json:"held"`
	// Hidden is what statfs(2) of the mounted file system counts as used
	// beyond its superblock, in bytes: ext4 leaves its own structures out
	// (so this is negative), xfs adds what it keeps for its own trees.
	Hidden int64 `json:"hidden"`
}

// fill is how full a file system is, its own structures included.
type fill struct {
	Bytes  int64 `json:"bytes"`
	Inodes int64 `json:"inodes"`
}

// template is a formatted device that snapshots without a parent are thin
// snapshots of.
type template struct {
	device
	// Spec says in words what it was made with.
	Spec string `json:"spec"`
}

// refuse is a thin device that nobody's record names any more.
type refuse struct {
	// Of is the snapshot's key, for people.
	Of string `json:"of"`
	// Lent: somebody had it mounted when a Commit took its content away; it
	// goes when they unmount it, and no Cleanup waits for that.
	Lent bool `json:"lent,omitempty"`
}

func thinKey(id pool.ThinID) []byte { return strconv.AppendUint(nil, uint64(id), 10) }

func parseThinKey(key []byte) (pool.ThinID, error) {
	n, err := strconv.ParseUint(string(key), 10, 24)
	if err != nil {
		return 0, fmt.Errorf("thin id %q: %w", key, err)
	}
	return pool.ThinID(n), nil
}

// put writes one value; ctx carries a write transaction.
func put(ctx context.Context, bucket string, key []byte, value any) error {
	b, err := metadata.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.Put(key, text)
}

// drop deletes one value; one that is absent is no error.
func drop(ctx context.Context, bucket string, key []byte) error {
	b, err := metadata.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	return b.Delete(key)
}

// getDevice reads the device of a snapshot; ctx carries a transaction.
func getDevice(ctx context.Context, id string) (d device, err error) {
	b, err := metadata.Bucket(ctx, deviceBucket)
	if err != nil {
		return d, err
	}
	var text []byte
	if b != nil {
		text = b.Get([]byte(id))
	}
	if text == nil {
		return d, fmt.Errorf("snapshot number %s has no device in the records; see varve-devmapper audit: %w", id, errdefs.ErrDataLoss)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("device of snapshot number %s: %w", id, errors.Join(err, errdefs.ErrDataLoss))
	}
	return d, nil
}

// each calls fn for every value of a bucket; ctx carries a transaction.
func each[V any](ctx context.Context, bucket string, fn func(key []byte, v V) error) error {
	b, err := metadata.Bucket(ctx, bucket)
	if err != nil || b == nil {
		return err
	}
	return b.ForEach(func(k, text []byte) error {
		var v V
		if err := json.Unmarshal(text, &v); err != nil {
			return fmt.Errorf("record %s of %s: %w", k, bucket, errors.Join(err, errdefs.ErrDataLoss))
		}
		return fn(k, v)
	})
}
