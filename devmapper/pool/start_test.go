package pool_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/loop"
)

// TestOneOwner: a second process is refused, whatever its directory, and takes
// nothing of the first one's away.
func TestOneOwner(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	p := l.open()
	for _, directory := range []string{l.directory, filepath.Join(t.TempDir(), "other")} {
		_, err := l.tryOpen(func(o *pool.Options) { o.Directory = directory })
		want(t, "second owner in "+directory, err, errdefs.IsFailedPrecondition, "owned by another process", "pid")
	}
	if _, err := os.Stat(filepath.Join(p.Catalog(), "pool.json")); err != nil {
		t.Fatalf("the first owner lost its catalog: %v", err)
	}
	l.create(p)
	l.close(p)
	p = l.open(func(o *pool.Options) { o.Directory = filepath.Join(t.TempDir(), "third") })
	l.close(p)
}

// TestLeftSuspended: what a crash left suspended, half made or reserved is in
// order after a start, and nothing hangs on the way.
func TestLeftSuspended(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	p := l.open()
	id, path := l.thin(p, 32*mib)
	write(t, path, 0, "kept")
	name := filepath.Base(path)
	poolName := p.Name()
	l.close(p)

	if err := l.ctl.Suspend(name, dm.SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	half := strings.TrimSuffix(name, id.String()) + "99"
	if _, err := l.ctl.Create(half, "VARVE-"+l.uuid+"-99", dm.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ctl.Message(poolName, 0, "reserve_metadata_snap"); err != nil {
		t.Fatal(err)
	}
	p = l.open()
	defer l.close(p)
	found := l.devices()
	if info := found[id.String()]; info.Suspended || !info.Live {
		t.Errorf("the suspended device: %+v", info)
	}
	if _, there := found["99"]; there {
		t.Error("a device without a table is still there")
	}
	if got := read(t, path, 0, 4); got != "kept" {
		t.Errorf("the device holds %q", got)
	}
	if got := l.thins(p); !slices.Equal(got, []pool.ThinID{id}) {
		t.Errorf("thins %v", got)
	}
}

// deactivate takes the pool's own devices down, as a reboot does.
func (l *lab) deactivate() {
	l.t.Helper()
	l.clear()
	if left := l.devices(); len(left) > 0 {
		l.t.Fatalf("still active: %v", left)
	}
}

// TestReboot: the pool is activated again from what lies on the disk.
func TestReboot(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	p := l.open()
	id, path := l.thin(p, 32*mib)
	write(t, path, 0, "kept")
	l.close(p)
	l.deactivate()
	if err := os.RemoveAll(l.directory); err != nil { // the host's state is lost as well
		t.Fatal(err)
	}
	p = l.open()
	defer l.close(p)
	if active, _, _, err := p.Active(t.Context(), id); err != nil || active {
		t.Fatalf("active after a reboot: %v %v", active, err)
	}
	path, err := p.Activate(t.Context(), id, pool.Activation{Bytes: 32 * mib, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, 0, 4); got != "kept" {
		t.Errorf("the device holds %q", got)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 4096), 0)
		_ = f.Close()
	}
	if err == nil {
		t.Error("a read-only device takes a write")
	}
	if next := l.newID(p); next != id+1 {
		t.Errorf("the next id is %d after %d: a clean close gives the rest of a window back", next, id)
	}
}

// copyOf reads a loop device's file.
func copyOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRolledBack: an older copy of the metadata, or of the catalog, is noticed
// and not written to.
func TestRolledBack(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	l.close(l.open())
	l.deactivate()
	older := copyOf(t, l.files[1])
	l.close(l.open())
	l.close(l.open())
	l.deactivate()
	newer := copyOf(t, l.files[1])

	restore(t, l.metadata, older)
	_, err := l.tryOpen()
	want(t, "older metadata", err, errdefs.IsUnavailable, "rolled back", "transaction id is 1", "saw 3")
	l.deactivate()
	if again := copyOf(t, l.files[1]); !bytes.Equal(again, older) {
		t.Error("the metadata of the refused pool were written to")
	}
	restore(t, l.metadata, newer)
	p := l.open()
	catalog := copyOf(t, filepath.Join(p.Catalog(), "pool.json"))
	l.close(p)
	p = l.open() // moves on, and then the catalog's record goes back
	if err := os.WriteFile(filepath.Join(p.Catalog(), "pool.json"), catalog, 0o600); err != nil {
		t.Fatal(err)
	}
	l.close(p)
	_, err = l.tryOpen()
	want(t, "older catalog", err, errdefs.IsUnavailable, "catalog has been rolled back")
}

func restore(t *testing.T, d loop.Device, content []byte) {
	t.Helper()
	f, err := os.OpenFile(d.Path, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
}

// TestWrongDevices: what is not this pool's is refused before anything is
// written.
func TestWrongDevices(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	blank := l.loop(filepath.Join(t.TempDir(), "blank"), 16*mib)
	l.close(l.open())
	l.deactivate()

	before := l.config
	l.config.MetadataDevice = blank.Path
	_, err := l.tryOpen()
	want(t, "blank metadata", err, errdefs.IsUnavailable, "blank", blank.Path)
	if got := read(t, blank.Path, 0, 4096); strings.Trim(got, "\x00") != "" {
		t.Error("the blank device was written to")
	}
	write(t, blank.Path, 0, "something")
	_, err = l.tryOpen()
	want(t, "foreign metadata", err, errdefs.IsFailedPrecondition, "does not hold the metadata")
	l.config = before
	l.config.DataDevice = blank.Path
	_, err = l.tryOpen()
	want(t, "foreign data", err, errdefs.IsFailedPrecondition, "no ext4 with the label", "pool create")
	l.config.DataDevice = l.files[0]
	_, err = l.tryOpen()
	want(t, "a file for a device", err, errdefs.IsInvalidArgument, "data_device", "not a block device")
	l.config.DataDevice = "/dev/varve-test-none"
	_, err = l.tryOpen()
	want(t, "no such device", err, func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, "data_device", "/dev/varve-test-none")
	l.config = before

	l.deactivate()
	if err := os.Truncate(l.files[0], 128*mib); err != nil {
		t.Fatal(err)
	}
	if err := loop.Resize(l.data.Path); err != nil {
		t.Fatal(err)
	}
	_, err = l.tryOpen()
	want(t, "shrunk data", err, errdefs.IsUnavailable, "shrank", l.data.Path)
}

// TestForeign: ids that nobody here gave out are refused, adopted by name, and
// then neither given out nor reclaimed.
func TestForeign(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	p := l.open()
	mine := l.create(p)
	name := p.Name()
	l.close(p)
	foreign := mine + 2
	if _, err := l.ctl.Message(name, 0, "create_thin "+foreign.String()); err != nil {
		t.Fatal(err)
	}
	_, err := l.tryOpen()
	want(t, "foreign id", err, errdefs.IsFailedPrecondition, "never gave out", "["+foreign.String()+"]")
	p = l.open(func(o *pool.Options) { o.Adopt = []pool.ThinID{foreign} })
	l.close(p)
	p = l.open() // adopted for good
	defer l.close(p)
	for range 3 {
		if id := l.newID(p); id == foreign {
			t.Errorf("the foreign id %d was given out", id)
		}
	}
	gone, err := p.Reclaim(context.Background(), func(pool.ThinID) bool { return false })
	if err != nil || !slices.Equal(gone, []pool.ThinID{mine}) {
		t.Errorf("Reclaim: %v %v", gone, err)
	}
	if got := l.thins(p); !slices.Equal(got, []pool.ThinID{foreign}) {
		t.Errorf("thins %v", got)
	}
}
