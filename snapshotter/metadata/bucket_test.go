package metadata_test

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	bolt "go.etcd.io/bbolt"

	"github.com/varve-project/varve/snapshotter/metadata"
)

// put makes the snapshot key and keeps value of it; a failure after both
// takes both back.
func put(s *metadata.Store, key, value string, fail error) error {
	return s.Do(context.Background(), metadata.Write{Apply: func(ctx context.Context) error {
		made, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, "")
		if err != nil {
			return err
		}
		b, err := metadata.Bucket(ctx, "devices")
		if err != nil {
			return err
		}
		return errors.Join(b.Put([]byte(made.ID), []byte(value)), fail)
	}})
}

// TestBucketSharesTheTransaction: what the driver keeps stands or falls with
// the snapshot's record, and outlives the store.
func TestBucketSharesTheTransaction(t *testing.T) {
	s, path := open(t)
	kept := func() (values []string) {
		t.Helper()
		err := s.Read(t.Context(), func(ctx context.Context) error {
			b, err := metadata.Bucket(ctx, "devices")
			if err != nil || b == nil {
				return err
			}
			return b.ForEach(func(_, v []byte) error { values = append(values, string(v)); return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	if got := kept(); len(got) != 0 {
		t.Errorf("a new store keeps %q", got)
	}
	planted := errors.New("planted")
	if err := put(s, "a", "one", planted); !errors.Is(err, planted) {
		t.Fatalf("Do: %v, want the planted failure", err)
	}
	if got := kept(); len(got) != 0 || len(names(t, s)) != 0 {
		t.Errorf("after a failure the store keeps %q and %q", got, names(t, s))
	}
	if err := put(s, "b", "two", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := metadata.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if got := kept(); len(got) != 1 || got[0] != "two" {
		t.Errorf("the store keeps %q, want two", got)
	}
}

func TestBucketNeedsItsTransaction(t *testing.T) {
	s, _ := open(t)
	defer func() { _ = s.Close() }()
	var b *bolt.Bucket
	if _, err := metadata.Bucket(t.Context(), "devices"); err == nil {
		t.Error("a bucket without a transaction")
	}
	err := s.Read(t.Context(), func(ctx context.Context) (err error) {
		b, err = metadata.Bucket(ctx, "devices")
		return err
	})
	if err != nil || b != nil {
		t.Errorf("a bucket that was never written: %v, %v; want none", b, err)
	}
}
