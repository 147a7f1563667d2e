package csi_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/test/built"
)

// A pool on a file system with reflinks needs no store file.
func TestPoolWithReflinks(t *testing.T) {
	for _, fs := range []string{"xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			d := newDriver(t, built.Path(t, "varve-csi"))
			disk := d.path("disk")
			if err := os.Mkdir(disk, 0o700); err != nil {
				t.Fatal(err)
			}
			mountNew(t, d, fs, disk)
			d.args = []string{"--pool", filepath.Join(disk, "pool")}
			d.start()
			u := d.use(d.create(sized("v", mounted("xfs"), 320*mib)), mounted("xfs"))
			fill(t, u.target, 6, 50, 8192)
			before := digest(t, u.target)
			snap := d.snapshot("s", u.id)
			fill(t, u.target, 8, 50, 8192)
			r := sized("r", mounted("xfs"), 0)
			r.VolumeContentSource = fromSnapshot(snap.GetSnapshotId())
			restored := d.use(d.create(r), mounted("xfs"))
			if digest(t, restored.target) != before {
				t.Error("the restored volume differs")
			}
			if _, err := os.Stat(filepath.Join(disk, "pool", "store.xfs")); err == nil {
				t.Error("a store file was made where there are reflinks")
			}
			if list := d.findings(); len(list) > 0 {
				t.Errorf("the doctor says %+v", list)
			}
			for _, u := range []used{u, restored} {
				u.release()
				d.remove(u.id)
			}
			d.removeSnapshot(snap.GetSnapshotId())
			d.stop()
		})
	}
}

// mountNew mounts a new file system of 2 GiB for the length of the test.
func mountNew(t *testing.T, d *driver, fs, point string) {
	t.Helper()
	image := d.path("disk.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 2*gib); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs."+fs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.%s: %v: %s", fs, err, out)
	}
	dev, err := loop.Attach(soon(t), image, loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.Mount(dev.Path, point, fs, 0, "")
	t.Cleanup(func() {
		d.stop()
		if err == nil {
			if err := syscall.Unmount(point, 0); err != nil {
				t.Error(err)
			}
		}
		if err := loop.Detach(t.Context(), dev); err != nil {
			_ = loop.Release(dev)
		}
	})
	if errors.Is(err, syscall.ENODEV) {
		t.Skip("kernel lacks: " + fs)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The store grows with its configuration and refuses to shrink.
func TestStoreGrows(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	id := d.create(sized("v", raw(), mib))
	small := d.capacity()
	d.stop()
	d.args = []string{"--store-size", "2GiB"}
	d.start()
	if large := d.capacity(); large < small+900*mib {
		t.Errorf("%d bytes after growing from %d", large, small)
	}
	d.remove(id)
	d.stop()
	d.args = []string{"--store-size", "1GiB"}
	if err := d.tryStart(); err == nil || !strings.Contains(d.logged(), "never shrinks") {
		t.Errorf("a smaller store: %v\n%s", err, d.logged())
	}
	d.ended()
}

// A damaged ext4 is repaired where that is safe; what cannot be mounted is
// named with its remedy, and nothing stays attached.
func TestDamagedFileSystem(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	u := d.use(d.create(sized("v", mounted("ext4"), 64*mib)), mounted("ext4"))
	fill(t, u.target, 4, 10, 4096)
	before := digest(t, u.target)
	u.release()
	image := d.path("root/pool/store/volumes", u.id, "image")
	set := func(offset int64, b ...byte) {
		t.Helper()
		f, err := os.OpenFile(image, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(b, offset); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("debugfs", "-w", "-R", "ssv state 2", image).CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
	u = d.use(u.id, u.capability)
	if digest(t, u.target) != before {
		t.Error("the content changed with the repair")
	}
	u.release()
	set(1024+0x38, 0, 0) // no magic any more
	_, err := d.NodeStageVolume(soon(t), u.stage())
	says(t, err, codes.FailedPrecondition, "no file system", "formatted")
	if err := onlyStore(d.dir); err != nil {
		t.Error(err)
	}
	d.remove(u.id)
}

// A daemon whose store was unmounted behind its back says so, and does not
// mistake the folder below for an empty store.
func TestStoreUnmounted(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	d.remove(d.create(sized("v", raw(), mib)))
	if err := syscall.Unmount(d.path("root/pool/store"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := d.Probe(soon(t), &csi.ProbeRequest{})
	says(t, err, codes.FailedPrecondition, "not mounted", "restart")
	_, err = d.CreateVolume(soon(t), sized("v", raw(), mib))
	says(t, err, codes.Internal, "not mounted")
	d.stop()
	d.start()
	d.remove(d.create(sized("v", raw(), mib)))
}
