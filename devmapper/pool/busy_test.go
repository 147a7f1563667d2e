package pool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/mount"
)

// TestSnapshotOfMounted: snapshots of a file system that is being written to
// are each a file system that needs no repair, and hold what was synced before
// (containerd #4374).
func TestSnapshotOfMounted(t *testing.T) {
	l := newLab(t, 512*mib, 16*mib)
	p := l.open()
	defer l.close(p)
	origin, path := l.thin(p, 64*mib)
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", path).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	dir := t.TempDir()
	if err := mount.Device(path, dir, mount.Ext4, mount.Options{}); err != nil {
		t.Fatal(err)
	}
	stop, stopped := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; stop.Err() == nil; i++ {
			name := filepath.Join(dir, fmt.Sprint(i%50))
			if err := os.WriteFile(name, make([]byte, 100_000+i), 0o600); err != nil {
				t.Error(err)
				return
			}
			if i%7 == 0 {
				_ = os.Remove(name)
			}
		}
	})
	var snapshots []pool.ThinID
	for i := range 5 {
		if err := os.WriteFile(filepath.Join(dir, "acknowledged"), fmt.Append(nil, i), 0o600); err != nil {
			t.Fatal(err)
		}
		id := l.newID(p)
		if err := p.Snapshot(t.Context(), id, origin); err != nil {
			t.Fatal(err)
		}
		snapshots = append(snapshots, id)
	}
	stopped()
	writer.Wait()
	if err := errors.Join(mount.Unmount(dir), p.Deactivate(t.Context(), origin, false)); err != nil {
		t.Fatal(err)
	}
	for i, id := range snapshots {
		l.checkExt4(p, id, fmt.Sprint(i))
	}
}

// checkExt4 has e2fsck find nothing to mend, and reads one file.
func (l *lab) checkExt4(p *pool.Pool, id pool.ThinID, acknowledged string) {
	l.t.Helper()
	path, err := p.Activate(l.t.Context(), id, pool.Activation{Bytes: 64 * mib})
	if err != nil {
		l.t.Fatal(err)
	}
	if out, err := exec.CommandContext(l.t.Context(), "e2fsck", "-fn", path).CombinedOutput(); err != nil {
		l.t.Errorf("snapshot %d: e2fsck -fn: %v\n%s", id, err, out)
	}
	dir := l.t.TempDir()
	if err := mount.Device(path, dir, mount.Ext4, mount.Options{}); err != nil {
		l.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "acknowledged"))
	if err := errors.Join(err, mount.Unmount(dir), p.Deactivate(l.t.Context(), id, false)); err != nil {
		l.t.Fatal(err)
	}
	if string(text) != acknowledged {
		l.t.Errorf("snapshot %d holds %q, want %q", id, text, acknowledged)
	}
}

// TestMany: a hundred at once, of one active origin, of one that is not, and
// of none; and all away again.
func TestMany(t *testing.T) {
	l := newLab(t, 512*mib, 32*mib)
	p := l.open()
	defer l.close(p)
	ctx := t.Context()
	active, _ := l.thin(p, 32*mib)
	resting := l.create(p)
	const n = 100
	ids := make([]pool.ThinID, n)
	at(t, n, func(i int) error {
		id, err := p.NewID(ctx)
		if err != nil {
			return err
		}
		ids[i] = id
		switch i % 3 {
		case 0:
			err = p.Create(ctx, id)
		case 1:
			err = p.Snapshot(ctx, id, active)
		case 2:
			err = p.Snapshot(ctx, id, resting)
		}
		if err != nil {
			return err
		}
		_, err = p.Activate(ctx, id, pool.Activation{Bytes: 32 * mib})
		return err
	})
	found := l.thins(p)
	slices.Sort(ids)
	if want := append([]pool.ThinID{active, resting}, ids...); !slices.Equal(found, want) {
		t.Errorf("thins %v\nwant %v", found, want)
	}
	for tail, info := range l.devices() {
		if info.Suspended || !info.Live {
			t.Errorf("%s: %+v", tail, info)
		}
	}
	at(t, n, func(i int) error {
		return errors.Join(p.Deactivate(ctx, ids[i], i%2 == 0), p.Delete(ctx, ids[i]))
	})
	if found := l.thins(p); len(found) != 2 {
		t.Errorf("left: %v", found)
	}
}

// at makes n calls at once.
func at(t *testing.T, n int, call func(int) error) {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = call(i) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestLazily: a device that is open goes with its last user, and can be taken
// back before.
func TestLazily(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	p := l.open()
	defer l.close(p)
	ctx := t.Context()
	id, path := l.thin(p, 32*mib)
	user, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Deactivate(ctx, id, false)
	if err == nil {
		t.Fatal("an open device was removed")
	}
	if err := p.Deactivate(ctx, id, true); err != nil {
		t.Fatal(err)
	}
	if active, open, _, err := p.Active(ctx, id); err != nil || !active || open != 1 {
		t.Errorf("active %v, open %d, %v", active, open, err)
	}
	if again, err := p.Activate(ctx, id, pool.Activation{Bytes: 32 * mib}); err != nil || again != path {
		t.Fatalf("%s, %v", again, err)
	}
	if err := user.Close(); err != nil {
		t.Fatal(err)
	}
	if active, _, _, err := p.Active(ctx, id); err != nil || !active {
		t.Errorf("went although it was taken back: %v %v", active, err)
	}
	if user, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Deactivate(ctx, id, true), user.Close()); err != nil {
		t.Fatal(err)
	}
	// The kernel removes it a moment later; Delete waits for that.
	if err := p.Delete(ctx, id); err != nil {
		t.Error(err)
	}
	if active, _, _, err := p.Active(ctx, id); err != nil || active {
		t.Errorf("stayed after its last user: %v %v", active, err)
	}
}
