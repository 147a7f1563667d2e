package pool

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/atomicfile"
)

func testLedger(t *testing.T, change func(*record)) *ledger {
	t.Helper()
	r := record{Version: recordVersion, UUID: "u", BlockBytes: 64 << 10, NextID: 1}
	change(&r)
	dir := t.TempDir()
	if err := atomicfile.WriteJSON(filepath.Join(dir, recordFile), r); err != nil {
		t.Fatal(err)
	}
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestIDs: many takers get different ids, each below what the record has
// reserved at that moment; a crash loses a window at most, a clean end none.
func TestIDs(t *testing.T) {
	l := testLedger(t, func(r *record) { r.Foreign = []ThinID{5, 70} })
	w := newIDs(l)
	t.Cleanup(func() { _ = w.close() }) // no fetch is under way when the folder goes
	const takers, each = 8, 500
	var mu sync.Mutex
	var all []ThinID
	var wg sync.WaitGroup
	for range takers {
		wg.Go(func() {
			for range each {
				id, err := w.take(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if next := l.get().NextID; id >= next {
					t.Errorf("id %d was given while the record says %d", id, next)
				}
				mu.Lock()
				all = append(all, id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); n != takers*each {
		t.Errorf("%d different ids of %d", n, takers*each)
	}
	if slices.Contains(all, 5) || slices.Contains(all, 70) || slices.Contains(all, 0) {
		t.Error("a foreign id was given")
	}
	last := all[len(all)-1]
	// A crash: another process reads the record as it is.
	crashed, err := openLedger(filepath.Dir(l.path))
	if err != nil {
		t.Fatal(err)
	}
	after := newIDs(crashed)
	t.Cleanup(func() { _ = after.close() })
	id, err := after.take(t.Context())
	if err != nil || id <= last || id > last+2*laterWindow {
		t.Errorf("after a crash: %d, %v; the last was %d", id, err, last)
	}
}

// TestIDsCrashLoop: a start that hands out one id and is killed loses a small
// window only.
func TestIDsCrashLoop(t *testing.T) {
	l := testLedger(t, func(*record) {})
	w := newIDs(l)
	t.Cleanup(func() { _ = w.close() })
	if _, err := w.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	under := w.fetching != nil
	w.mu.Unlock()
	if next := l.get().NextID; under || next != 1+firstWindow {
		t.Errorf("one id, and the record says %d (a fetch is under way: %v)", next, under)
	}
}

func TestIDsClosed(t *testing.T) {
	l := testLedger(t, func(*record) {})
	w := newIDs(l)
	for range 3 {
		if _, err := w.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	if next := l.get().NextID; next != 4 {
		t.Errorf("the record says %d after ids 1 to 3", next)
	}
	if _, err := w.take(t.Context()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("taken from what is closed: %v", err)
	}
}

func TestIDsExhausted(t *testing.T) {
	w := newIDs(testLedger(t, func(r *record) { r.NextID = maxID - 1 }))
	t.Cleanup(func() { _ = w.close() })
	var got []ThinID
	for range 2 {
		id, err := w.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	if !slices.Equal(got, []ThinID{maxID - 1, maxID}) {
		t.Errorf("%v", got)
	}
	if id, err := w.take(t.Context()); !errdefs.IsResourceExhausted(err) {
		t.Errorf("%d, %v", id, err)
	}
}

// TestIDsDisk: a record that cannot be written is an error of the call that
// needed it, and not of those after it is mended.
func TestIDsDisk(t *testing.T) {
	l := testLedger(t, func(*record) {})
	dir := filepath.Dir(l.path)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	w := newIDs(l)
	t.Cleanup(func() { _ = w.close() })
	if id, err := w.take(t.Context()); err == nil {
		t.Errorf("%d was given without a record", id)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := w.take(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRecordRefused(t *testing.T) {
	for name, change := range map[string]func(*record){
		"newer":    func(r *record) { r.Version = recordVersion + 1 },
		"no uuid":  func(r *record) { r.UUID = "" },
		"block":    func(r *record) { r.BlockBytes = 1000 },
		"id":       func(r *record) { r.NextID = 0 },
		"large id": func(r *record) { r.NextID = maxID + 2 },
	} {
		r := record{Version: recordVersion, UUID: "u", BlockBytes: 64 << 10, NextID: 1}
		change(&r)
		if err := r.check("pool.json"); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := openLedger(t.TempDir()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("no record: %v", err)
	}
}

// TestGates: one call at a time for each id, any number for different ones;
// who waits can give up.
func TestGates(t *testing.T) {
	var g gates
	unlock, err := g.lock(t.Context(), 2, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := g.lock(ctx, 3, 1); !errdefs.IsDeadlineExceeded(err) {
		t.Errorf("a gate that is held opened: %v", err)
	}
	other, err := g.lock(t.Context(), 3) // was not left held by the failure
	if err != nil {
		t.Fatal(err)
	}
	other()
	unlock()
	again, err := g.lock(t.Context(), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if len(g.held) != 0 {
		t.Errorf("%d gates are kept for nobody", len(g.held))
	}
}
