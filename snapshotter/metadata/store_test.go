package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/snapshotter/metadata"
)

func open(t *testing.T) (*metadata.Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metadata.db")
	s, err := metadata.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func create(key string) metadata.Write {
	return metadata.Write{Apply: func(ctx context.Context) error {
		_, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, "")
		return err
	}}
}

func names(t *testing.T, s *metadata.Store, filters ...string) (names []string) {
	t.Helper()
	list, err := s.List(t.Context(), filters...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		names = append(names, r.Info.Name)
	}
	return names
}

func TestEmptyStoreListsNothing(t *testing.T) {
	s, _ := open(t)
	defer func() { _ = s.Close() }()
	if got := names(t, s); len(got) != 0 {
		t.Errorf("an empty store lists %v", got)
	}
	if _, err := s.Get(t.Context(), "no"); !errdefs.IsNotFound(err) {
		t.Errorf("Get of an absent key: %v, want NotFound", err)
	}
}

func TestRecordsOutliveTheStore(t *testing.T) {
	s, path := open(t)
	if err := s.Do(t.Context(), create("a")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := metadata.ReadFile(t.Context(), path)
	if err != nil || len(list) != 1 || list[0].Info.Name != "a" {
		t.Errorf("ReadFile: %v, %v", list, err)
	}
	if err := s.Do(t.Context(), create("b")); !errdefs.IsUnavailable(err) {
		t.Errorf("Do after Close: %v, want Unavailable", err)
	}
}

// block holds the writer in a batch until the returned function is called,
// so that what is queued meanwhile makes one batch.
func block(t *testing.T, s *metadata.Store) (release func()) {
	t.Helper()
	begun, hold := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		// In Apply: what blocked a Check would block a read transaction, and
		// with it the writer that grows the file.
		_ = s.Do(context.Background(), metadata.Write{Apply: func(context.Context) error {
			once.Do(func() { close(begun) })
			<-hold
			return errors.New("failed")
		}})
	}()
	<-begun
	return func() { close(hold) }
}

// TestRefusalWaitsForNobody: what Check refuses is answered while a commit is
// under way.
func TestRefusalWaitsForNobody(t *testing.T) {
	s, _ := open(t)
	release := block(t, s)
	err := s.Do(t.Context(), metadata.Write{
		Check: func(context.Context) error { return errdefs.ErrAlreadyExists },
		Apply: func(context.Context) error { t.Error("Apply ran after a refusal"); return nil },
	})
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("Do: %v, want AlreadyExists", err)
	}
	release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err = s.Do(t.Context(), metadata.Write{Check: func(context.Context) error { return nil }})
	if !errdefs.IsUnavailable(err) {
		t.Errorf("Do with a Check after Close: %v, want Unavailable", err)
	}
}

// TestBatchShares: what waits while a commit runs shares the next one, and a
// failure in it is answered to its own caller only.
func TestBatchShares(t *testing.T) {
	s, _ := open(t)
	defer func() { _ = s.Close() }()
	release := block(t, s)
	const writers = 20
	errPlanted := errors.New("planted")
	errs := make([]error, writers)
	var mu sync.Mutex
	checked := make([]int, writers)
	applied, undone, done := make([]int, writers), make([]int, writers), make([]int, writers)
	transactions := map[any]bool{}
	var group sync.WaitGroup
	for i := range writers {
		group.Add(1)
		go func() {
			defer group.Done()
			errs[i] = s.Do(context.Background(), metadata.Write{
				Check: func(context.Context) error {
					// As when an earlier write of the batch makes it wrong.
					if checked[i]++; i == 3 && checked[i] > 1 {
						return errdefs.ErrInvalidArgument
					}
					return nil
				},
				Apply: func(ctx context.Context) error {
					mu.Lock()
					applied[i]++
					transactions[ctx] = true
					mu.Unlock()
					if err := create(fmt.Sprint("key", i)).Apply(ctx); err != nil {
						return err
					}
					if i == 7 || i == 12 {
						return errPlanted
					}
					return nil
				},
				Undo: func() { undone[i]++ },
				Done: func() { done[i]++ },
			})
		}()
	}
	for s.Waiting() < writers {
	}
	release()
	group.Wait()
	for i, err := range errs {
		switch i {
		case 3:
			if !errdefs.IsInvalidArgument(err) || applied[i] != 0 {
				t.Errorf("write %d: %v, applied %d times; want a refusal without Apply", i, err, applied[i])
			}
		case 7, 12:
			if !errors.Is(err, errPlanted) || undone[i] != 1 || done[i] != 0 {
				t.Errorf("write %d: %v, undone %d, done %d; want the planted error and one Undo", i, err, undone[i], done[i])
			}
		default:
			if err != nil || applied[i] != undone[i]+1 || done[i] != 1 {
				t.Errorf("write %d: %v, applied %d, undone %d, done %d; want one more Apply than Undo and one Done", i, err, applied[i], undone[i], done[i])
			}
		}
	}
	// One transaction for the batch, and one more for each failure.
	if len(transactions) != 3 {
		t.Errorf("%d transactions for a batch with two failures, want 3", len(transactions))
	}
	if got := len(names(t, s)); got != writers-3 {
		t.Errorf("%d records, want %d", got, writers-3)
	}
}

func TestContextEndsAWaitingWrite(t *testing.T) {
	s, _ := open(t)
	defer func() { _ = s.Close() }()
	release := block(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- s.Do(ctx, create("a")) }()
	for s.Waiting() < 1 {
	}
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("Do: %v, want Canceled", err)
	}
	release()
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s); len(got) != 0 {
		t.Errorf("a write whose caller had gone before it began made %v", got)
	}
}

// TestSettle: every change handed over before is on disk when it returns.
func TestSettle(t *testing.T) {
	s, _ := open(t)
	defer func() { _ = s.Close() }()
	release := block(t, s)
	go func() { _ = s.Do(context.Background(), create("a")) }()
	for s.Waiting() < 1 {
	}
	settled := make(chan error)
	go func() { settled <- s.Settle(context.Background()) }()
	for s.Waiting() < 2 {
	}
	select {
	case err := <-settled:
		t.Fatal(err, "Settle returned while a write waited")
	default:
	}
	release()
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	if got := names(t, s); len(got) != 1 {
		t.Errorf("after Settle the store has %v, want [a]", got)
	}
}

func TestFilters(t *testing.T) {
	s, _ := open(t)
	defer func() { _ = s.Close() }()
	for _, k := range []string{"a", "b"} {
		if err := s.Do(t.Context(), create(k)); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, s, "name==b"); len(got) != 1 || got[0] != "b" {
		t.Errorf("filter name==b lists %v", got)
	}
}
