package csi_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

var fileSystems = []string{"ext4", "xfs"}

// A snapshot of a volume in use holds what was there, whatever happens to the
// volume later; what is restored from it is whole, larger if asked for, and
// mounts beside its origin.
func TestSnapshotRestoreClone(t *testing.T) {
	for _, fs := range fileSystems {
		t.Run(fs, func(t *testing.T) {
			d := start(t, "--store-size", "4GiB")
			origin := d.use(d.create(sized("origin", mounted(fs), 400*mib)), mounted(fs))
			fill(t, origin.target, 1, 300, 8192)
			before := digest(t, origin.target)

			snap := d.snapshot("snap", origin.id)
			if snap.GetSizeBytes() != 400*mib || !snap.GetReadyToUse() || snap.GetSourceVolumeId() != origin.id {
				t.Errorf("snapshot is %v", snap)
			}
			fill(t, origin.target, 2, 300, 8192)
			if err := os.WriteFile(filepath.Join(origin.target, "later"), nil, 0o600); err != nil {
				t.Fatal(err)
			}

			r := sized("restored", mounted(fs), 600*mib)
			r.VolumeContentSource = fromSnapshot(snap.GetSnapshotId())
			restored := d.use(d.create(r), mounted(fs))
			if got := digest(t, restored.target); got != before {
				t.Error("the restored volume differs from what was snapshotted")
			}
			var st unix.Statfs_t
			if err := unix.Statfs(restored.target, &st); err != nil {
				t.Fatal(err)
			}
			if got := int64(st.Blocks) * st.Bsize; got < 500*mib {
				t.Errorf("the file system has %d bytes on a device of 600 MiB", got)
			}

			r = sized("clone", mounted(fs), 400*mib)
			r.VolumeContentSource = fromVolume(origin.id)
			clone := d.use(d.create(r), mounted(fs))
			if digest(t, clone.target) != digest(t, origin.target) {
				t.Error("the clone differs from its origin")
			}

			// None of them needs another one to live.
			origin.release()
			d.remove(origin.id)
			d.removeSnapshot(snap.GetSnapshotId())
			if digest(t, restored.target) != before {
				t.Error("the restored volume changed with its origin")
			}
			for _, u := range []used{restored, clone} {
				u.release()
				d.remove(u.id)
			}
		})
	}
}

// Sixteen thousand files, snapshotted while a writer works on others.
func TestSnapshotOfManyFiles(t *testing.T) {
	d := start(t, "--store-size", "4GiB")
	origin := d.use(d.create(sized("many", mounted("xfs"), gib)), mounted("xfs"))
	still := filepath.Join(origin.target, "still")
	fill(t, still, 3, 16000, 512)
	before := digest(t, still)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile(filepath.Join(origin.target, "moving"), bytes.Repeat([]byte{byte(n)}, 65536), 0o600)
			}
		}
	})
	snap := d.snapshot("snap", origin.id)
	close(stop)
	writer.Wait()
	r := sized("restored", mounted("xfs"), 0)
	r.VolumeContentSource = fromSnapshot(snap.GetSnapshotId())
	restored := d.use(d.create(r), mounted("xfs"))
	if digest(t, filepath.Join(restored.target, "still")) != before {
		t.Error("the restored files differ")
	}
	origin.release()
	restored.release()
	d.remove(origin.id)
	d.remove(restored.id)
	d.removeSnapshot(snap.GetSnapshotId())
}

// A raw device is flushed, so that a snapshot holds what its writer wrote
// without a sync of its own.
func TestSnapshotOfRawDevice(t *testing.T) {
	d := start(t, "--store-size", "2GiB")
	u := d.use(d.create(sized("raw", raw(), 64*mib)), raw())
	device, err := os.OpenFile(u.target, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("varve"), 100_000)
	if _, err := device.WriteAt(want, 8192); err != nil {
		t.Fatal(err)
	}
	snap := d.snapshot("snap", u.id)
	if _, err := device.WriteAt(make([]byte, len(want)), 8192); err != nil {
		t.Fatal(err)
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	r := sized("restored", raw(), 0)
	r.VolumeContentSource = fromSnapshot(snap.GetSnapshotId())
	restored := d.use(d.create(r), raw())
	got := make([]byte, len(want))
	f, err := os.Open(restored.target)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(got, 8192); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the restored device differs (%v)", err)
	}
	_ = f.Close()

	// There is no file system on it to mount.
	r = sized("as files", mounted("ext4"), 0)
	r.VolumeContentSource = fromSnapshot(snap.GetSnapshotId())
	_, err = d.CreateVolume(soon(t), r)
	wants(t, err, codes.InvalidArgument)

	for _, u := range []used{u, restored} {
		u.release()
		d.remove(u.id)
	}
	d.removeSnapshot(snap.GetSnapshotId())
	left := must(d.ListSnapshots(soon(t), &csi.ListSnapshotsRequest{}))(t)
	if len(left.GetEntries()) != 0 {
		t.Errorf("left: %v", left)
	}
}
