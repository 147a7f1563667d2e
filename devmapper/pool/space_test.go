package pool_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
)

// occupied is what a file takes on its disk.
func occupied(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// fillUp writes n bytes of noise and flushes them to the disk.
func fillUp(t *testing.T, path string, n int64) error {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	noise, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer noise.Close()
	_, err = io.CopyN(f, noise, n)
	return errors.Join(err, f.Sync(), f.Close())
}

// TestDiscard: a deleted device's own blocks are given back to the disk, those
// that it shares are not.
func TestDiscard(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	l.config.DiscardOnDelete = true
	p := l.open()
	defer l.close(p)
	ctx := t.Context()
	before := occupied(t, l.files[0])
	base, path := l.thin(p, 64*mib)
	if err := fillUp(t, path, 16*mib); err != nil {
		t.Fatal(err)
	}
	child := l.newID(p)
	if err := p.Snapshot(ctx, child, base); err != nil {
		t.Fatal(err)
	}
	childPath, err := p.Activate(ctx, child, pool.Activation{Bytes: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	if err := fillUp(t, childPath, 8*mib); err != nil { // of its own; 8 MiB stay shared
		t.Fatal(err)
	}
	sum := read(t, path, 0, 16*mib)
	full := occupied(t, l.files[0])
	if full < before+24*mib {
		t.Fatalf("24 MiB of noise take %d bytes", full-before)
	}
	want(t, "delete an active device", p.Delete(ctx, child), errdefs.IsFailedPrecondition)
	if err := errors.Join(p.Deactivate(ctx, child, false), p.Delete(ctx, child)); err != nil {
		t.Fatal(err)
	}
	left := occupied(t, l.files[0])
	if gone := full - left; gone < 8*mib || gone > 9*mib {
		t.Errorf("the disk got %d bytes back, want the 8 MiB that nobody shared", gone)
	}
	if got := read(t, path, 0, 16*mib); got != sum {
		t.Error("the origin has lost data")
	}
	if err := errors.Join(p.Deactivate(ctx, base, false), p.Delete(ctx, base)); err != nil {
		t.Fatal(err)
	}
	if left := occupied(t, l.files[0]); left > before+mib {
		t.Errorf("%d bytes are still taken of an empty pool", left-before)
	}
	if found := l.devices(); len(found) != 3 {
		t.Errorf("left: %v", found)
	}
}

// slowDisk puts a linear device under the pool's metadata, which a test can
// suspend: a disk that hangs.
func (l *lab) slowDisk() (name string) {
	l.t.Helper()
	name = "varve-test-" + strings.ReplaceAll(l.uuid, "-", "")[:12]
	path, err := l.ctl.Activate(name, "", false, dm.Target{Length: uint64(l.metadata.Size) / 512, Type: "linear", Params: l.metadata.Path + " 0"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = l.ctl.Resume(name)
		l.clear()
		if err := l.remove(name); err != nil {
			l.t.Error(err)
		}
	})
	l.config.MetadataDevice = path
	return name
}

// TestDiskHangs: callers get their deadline, and when the disk is back what
// they were told to have failed has not happened.
func TestDiskHangs(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	disk := l.slowDisk()
	p := l.open()
	defer l.close(p)
	base, path := l.thin(p, 32*mib)
	write(t, path, 0, "kept")
	ids := []pool.ThinID{l.newID(p), l.newID(p)}
	if err := l.ctl.Suspend(disk, suspendNow); err != nil {
		t.Fatal(err)
	}
	within := func(call func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := call(ctx)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the caller waited %s", took)
		}
		return err
	}
	err := within(func(ctx context.Context) error { return p.Create(ctx, ids[0]) })
	want(t, "create", err, errdefs.IsDeadlineExceeded, "create thin device", "the kernel has not answered")
	err = within(func(ctx context.Context) error { return p.Snapshot(ctx, ids[1], base) })
	want(t, "snapshot", err, errdefs.IsDeadlineExceeded, "snapshot", "the kernel has not answered")
	// The snapshot is still in the kernel: what comes next on its origin waits.
	err = within(func(ctx context.Context) error {
		_, err := p.Activate(ctx, base, pool.Activation{Bytes: 32 * mib})
		return err
	})
	want(t, "activate meanwhile", err, errdefs.IsDeadlineExceeded, "an earlier call on it has not ended")
	if err := l.ctl.Resume(disk); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Activate(t.Context(), base, pool.Activation{Bytes: 32 * mib}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := p.Delete(t.Context(), id); err != nil { // waits for what is under way
			t.Fatal(err)
		}
	}
	if got := l.thins(p); !slices.Equal(got, []pool.ThinID{base}) {
		t.Errorf("thins %v, want %d alone", got, base)
	}
	if info := l.devices()[base.String()]; info.Suspended {
		t.Error("the origin is still suspended")
	}
	if got := read(t, path, 0, 4); got != "kept" {
		t.Errorf("the origin holds %q", got)
	}
}

// TestDiskBreaks: a pool whose metadata cannot be written says so, at the call
// whose commit failed, and a start refuses it with the command that mends it.
func TestDiskBreaks(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	disk := l.slowDisk()
	p := l.open()
	base := l.create(p)
	id := l.newID(p)
	size := uint64(l.metadata.Size) / 512
	swap := func(table dm.Target) {
		t.Helper()
		err := errors.Join(
			l.ctl.Suspend(disk, suspendNow),
			l.ctl.Load(disk, false, table), l.ctl.Resume(disk))
		if err != nil {
			t.Fatal(err)
		}
	}
	swap(dm.Target{Length: size, Type: "error"})
	err := p.Snapshot(t.Context(), id, base)
	want(t, "snapshot on a broken disk", err, errdefs.IsUnavailable, "varve-devmapper pool repair")
	want(t, "and again", p.Create(t.Context(), id), errdefs.IsUnavailable, "varve-devmapper pool repair")
	l.close(p)
	swap(dm.Target{Length: size, Type: "linear", Params: l.metadata.Path + " 0"})
	_, err = l.tryOpen()
	want(t, "start on a pool that needs repair", err, errdefs.IsUnavailable, "pool repair")
}

// TestFull: a pool without space fails writes as configured, deletes still
// work, and give space back.
func TestFull(t *testing.T) {
	l := newLab(t, 64*mib, 16*mib)
	p := l.open()
	defer l.close(p)
	ctx := t.Context()
	id, path := l.thin(p, 128*mib)
	if err := fillUp(t, path, 56*mib); err == nil {
		t.Fatal("56 MiB went into a pool of 48 MiB")
	}
	s, err := p.Status(ctx)
	if err != nil || s.Mode != pool.ModeNoSpace || s.OutOfSpace != "error" {
		t.Fatalf("Status: %+v %v", s, err)
	}
	if err := errors.Join(p.Deactivate(ctx, id, false), p.Delete(ctx, id)); err != nil {
		t.Fatal(err)
	}
	_, path = l.thin(p, 32*mib)
	if err := fillUp(t, path, 16*mib); err != nil {
		t.Fatalf("after the deletion: %v", err)
	}
	if s, err = p.Status(ctx); err != nil || s.Mode != pool.ModeWrite {
		t.Errorf("Status: %+v %v", s, err)
	}
}

// TestLoopDirectory: three files, attached at the start and found again.
func TestLoopDirectory(t *testing.T) {
	needDM(t)
	dir := t.TempDir()
	for name, size := range map[string]int64{pool.LoopData: 128 * mib, pool.LoopMetadata: 16 * mib, pool.LoopCatalog: 16 * mib} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	l := &lab{t: t, ctl: needDM(t), uuid: pool.NewUUID(), directory: filepath.Join(t.TempDir(), "state")}
	l.config = pool.DefaultConfig()
	l.config.LoopDirectory = dir
	t.Cleanup(func() { detachAll(t, dir) })
	t.Cleanup(l.clear)
	err := pool.FormatCatalog(t.Context(), pool.Identity{UUID: l.uuid, Node: attach(t, filepath.Join(dir, pool.LoopCatalog)), Bytes: 16 * mib, BlockBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	p := l.open()
	id, path := l.thin(p, 32*mib)
	write(t, path, 0, "kept")
	l.close(p)
	l.deactivate()
	detachAll(t, dir) // as a reboot does
	p = l.open()
	defer l.close(p)
	if path, err = p.Activate(t.Context(), id, pool.Activation{Bytes: 32 * mib}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, 0, 4); got != "kept" {
		t.Errorf("the device holds %q", got)
	}
}
