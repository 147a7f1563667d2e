package pool_test

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
)

func TestLife(t *testing.T) {
	l := newLab(t, 512*mib, 16*mib)
	p := l.open()
	ctx := t.Context()

	base, path := l.thin(p, 64*mib)
	write(t, path, 0, "base")
	child, err := p.NewID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Snapshot(ctx, child, base); err != nil {
		t.Fatal(err)
	}
	childPath, err := p.Activate(ctx, child, pool.Activation{Bytes: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, childPath, 0, 4); got != "base" {
		t.Fatalf("the snapshot of an active device holds %q", got)
	}
	write(t, childPath, 0, "next")
	if got := read(t, path, 0, 4); got != "base" {
		t.Fatalf("a write to the snapshot is seen in its origin: %q", got)
	}
	active, open, bytes, err := p.Active(ctx, child)
	if err != nil || !active || open != 0 || bytes != 64*mib {
		t.Fatalf("Active: %v %d %d %v", active, open, bytes, err)
	}
	if path, err = p.Activate(ctx, child, pool.Activation{Bytes: 128 * mib}); err != nil || path != childPath {
		t.Fatalf("grow: %s %v", path, err)
	}
	if _, _, bytes, _ = p.Active(ctx, child); bytes != 128*mib {
		t.Fatalf("grown to %d", bytes)
	}
	if err := p.Flush(ctx, child); err != nil {
		t.Fatal(err)
	}
	if got, exp := l.thins(p), []pool.ThinID{base, child}; !slices.Equal(got, exp) {
		t.Fatalf("thins %v, want %v", got, exp)
	}
	s, err := p.Status(ctx)
	if err != nil || s.Mode != "rw" || s.Thins != 2 || s.Data.Used == 0 || s.TransactionID != 1 {
		t.Fatalf("Status: %+v %v", s, err)
	}
	want(t, "delete an active device", p.Delete(ctx, child), errdefs.IsFailedPrecondition, "deactivate it first")
	for range 2 { // both are idempotent
		if err := p.Deactivate(ctx, child, false); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := p.Delete(ctx, child); err != nil {
			t.Fatal(err)
		}
	}
	want(t, "create twice", p.Create(ctx, base), errdefs.IsAlreadyExists)
	want(t, "snapshot of nothing", p.Snapshot(ctx, child+1, child), errdefs.IsNotFound)
	_, err = p.Activate(ctx, child, pool.Activation{Bytes: mib})
	want(t, "activate nothing", err, errdefs.IsNotFound)

	// Another start: the data are there, the device is still active.
	l.close(p)
	p = l.open()
	defer l.close(p)
	if got := read(t, p.Path(base), 0, 4); got != "base" {
		t.Fatalf("after a restart the device holds %q", got)
	}
	if s, err := p.Status(ctx); err != nil || s.TransactionID != 2 {
		t.Fatalf("Status after a restart: %+v %v", s, err)
	}
	gone, err := p.Reclaim(ctx, func(pool.ThinID) bool { return false })
	if err != nil || !slices.Equal(gone, []pool.ThinID{base}) {
		t.Fatalf("Reclaim: %v %v", gone, err)
	}
}
