package csi_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

func (d *driver) capacity() int64 {
	d.t.Helper()
	return must(d.GetCapacity(soon(d.t), &csi.GetCapacityRequest{}))(d.t).GetAvailableCapacity()
}

// What GetCapacity offers can be had, to the last byte; then nothing more; and
// everybody can write what they were promised, also when a snapshot holds the
// old content.
func TestPromisesAreKept(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	all := d.capacity()
	first := d.use(d.create(sized("first", raw(), 200*mib)), raw())
	if got := d.capacity(); got > all-190*mib || got < all-202*mib {
		t.Errorf("%d bytes are available of %d after a volume of 200 MiB", got, all)
	}
	write(t, first.target, 200*mib)
	snap := d.snapshot("snap", first.id)
	rest := d.capacity()
	if rest > all-390*mib {
		t.Errorf("%d bytes are available: the snapshot may come to hold 200 MiB", rest)
	}
	second := d.use(d.create(sized("second", raw(), rest)), raw())
	if got := d.capacity(); got > 2*mib {
		t.Errorf("%d bytes are available after all was promised", got)
	}
	_, err := d.CreateVolume(soon(t), sized("third", raw(), 16*mib))
	wants(t, err, codes.ResourceExhausted)
	_, err = d.CreateSnapshot(soon(t), &csi.CreateSnapshotRequest{Name: "snap2", SourceVolumeId: first.id})
	wants(t, err, codes.ResourceExhausted)
	_, err = d.ControllerExpandVolume(soon(t), &csi.ControllerExpandVolumeRequest{
		VolumeId: first.id, CapacityRange: &csi.CapacityRange{RequiredBytes: gib}})
	wants(t, err, codes.ResourceExhausted)

	write(t, first.target, 200*mib) // apart from the snapshot now
	write(t, second.target, rest)
	for _, u := range []used{first, second} {
		u.release()
		d.remove(u.id)
	}
	d.removeSnapshot(snap.GetSnapshotId())
	if got := d.capacity(); got < all-16*mib {
		t.Errorf("%d bytes are available after everything was removed, %d before", got, all)
	}
}

// write fills a raw device and makes sure that it arrived.
func write(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, mib)
	for i := range data {
		data[i] = byte(i*7 + 1)
	}
	for at := int64(0); at < size; at += mib {
		if _, err := f.WriteAt(data[:min(mib, size-at)], at); err != nil {
			t.Fatalf("write at %d of %d: %v", at, size, err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatalf("sync of %d bytes that were promised: %v", size, err)
	}
}

// A full volume is its own pod's trouble and nobody else's.
func TestFullVolume(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	full := d.use(d.create(sized("full", mounted("ext4"), 64*mib)), mounted("ext4"))
	other := d.use(d.create(sized("other", mounted("ext4"), 64*mib)), mounted("ext4"))
	err := os.WriteFile(filepath.Join(full.target, "big"), make([]byte, 80*mib), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("80 MiB into a volume of 64: %v", err)
	}
	fill(t, other.target, 9, 50, 4096)
	snap := d.snapshot("of the full one", full.id)
	d.removeSnapshot(snap.GetSnapshotId())
	for _, u := range []used{full, other} {
		u.release()
		d.remove(u.id)
	}
}

// Promising more than there is has to be asked for.
func TestOvercommit(t *testing.T) {
	d := newDriverWithConfig(t, "overcommit = 3.0\nstore_size = \"1GiB\"\n")
	if got := d.capacity(); got < 2*gib {
		t.Errorf("%d bytes are available of 1 GiB times 3", got)
	}
	id := d.create(sized("v", mounted("xfs"), 2*gib))
	d.remove(id)
}
