package pool_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
)

// lvm runs an LVM command and returns its output.
func (l *lab) lvm(arg ...string) string {
	l.t.Helper()
	out, err := lvm(arg...)
	if err != nil {
		l.t.Fatalf("lvm %v: %v\n%s", arg, err, out)
	}
	return out
}

func lvm(arg ...string) (string, error) {
	// Not the test's context: the clean-up runs these too.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := os.Stat("/run/udev/control"); err != nil { // nobody would make LVM's nodes
		arg = append(arg, "--config", "activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0}")
	}
	out, err := exec.CommandContext(ctx, "lvm", arg...).CombinedOutput()
	return string(out), err
}

// newGroup makes a volume group with a pool and its catalog, as `pool create`
// does.
func newGroup(t *testing.T) (l *lab, group string) {
	t.Helper()
	l = &lab{t: t, ctl: needDM(t), uuid: pool.NewUUID(), directory: filepath.Join(t.TempDir(), "state")}
	if _, err := exec.LookPath("lvm"); err != nil {
		t.Fatal("lvm is not installed; install lvm2")
	}
	l.data = l.loop(filepath.Join(t.TempDir(), "pv"), 640*mib)
	group = "varve-test-" + l.uuid[:8]
	t.Cleanup(func() {
		l.clear()
		l.lvm("vgremove", "--yes", "--force", group)
	})
	l.lvm("vgcreate", "--yes", group, l.data.Path)
	l.lvm("lvcreate", "--yes", "--type", "linear", "--size", "16m", "--name", pool.CatalogVolume, group)
	l.newPool(group)
	l.config = pool.DefaultConfig()
	l.config.VolumeGroup = group
	return l, group
}

// newPool makes the pool's volume, and the catalog anew.
func (l *lab) newPool(group string) {
	l.t.Helper()
	l.lvm("lvcreate", "--yes", "--type", "thin-pool", "--size", "256m", "--poolmetadatasize", "16m", "--chunksize", "64k", "--zero", "n", "--name", pool.PoolVolume, group)
	uuid, _, _ := strings.Cut(strings.TrimSpace(l.lvm("lvs", "--noheadings", "--options", "lv_uuid", group+"/"+pool.PoolVolume)), "\n")
	node := filepath.Join("/dev/mapper", strings.ReplaceAll(group, "-", "--")+"-varve--catalog")
	blank, err := os.OpenFile(node, os.O_WRONLY, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	_, err = blank.Write(make([]byte, mib))
	if err := errors.Join(err, blank.Close()); err != nil {
		l.t.Fatal(err)
	}
	err = pool.FormatCatalog(l.t.Context(), pool.Identity{UUID: l.uuid, Node: node, Bytes: 16 * mib, BlockBytes: 64 << 10, Volume: uuid})
	if err != nil {
		l.t.Fatal(err)
	}
}

// TestLVM: LVM activates a pool whose transaction id we have moved and whose
// thin devices are ours (decision 0031), keeps its hands off it, and lets
// itself be used to change it.
func TestLVM(t *testing.T) {
	l, group := newGroup(t)
	l.lvmsOwn(group)
	p := l.open()
	id, path := l.thin(p, 32*mib)
	write(t, path, 0, "kept")
	s, err := p.Status(t.Context())
	if err != nil || s.OutOfSpace != "error" || s.TransactionID != 1 || s.Data.Room == 0 {
		t.Errorf("Status: %+v %v", s, err)
	}
	l.lvm("lvextend", "--size", "+16m", group+"/"+pool.PoolVolume) // while a device is active
	if got := read(t, path, 0, 4); got != "kept" {
		t.Errorf("after lvextend: %q", got)
	}
	l.close(p)
	l.lvmSuspended(group, id, path)
	l.clear()
	l.lvm("vgchange", "--activate", "n", group) // as a reboot does
	p = l.open()
	defer l.close(p)
	if path, err = p.Activate(t.Context(), id, pool.Activation{Bytes: 32 * mib}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, 0, 4); got != "kept" {
		t.Errorf("after a reboot: %q", got)
	}
	// LVM itself refuses to put volumes of its own into what we use.
	if out, err := lvm("lvcreate", "--yes", "--virtualsize", "32m", "--thinpool", group+"/"+pool.PoolVolume, "--name", "intruder"); err == nil || !strings.Contains(out, "transaction id") {
		t.Errorf("LVM on a thin volume in our pool: %v\n%s", err, out)
	}
}

// lvmsOwn: a pool that holds LVM's thin volumes is refused, also when they are
// gone again, and a catalog goes with one pool only.
func (l *lab) lvmsOwn(group string) {
	l.t.Helper()
	l.lvm("lvcreate", "--yes", "--virtualsize", "32m", "--thinpool", group+"/"+pool.PoolVolume, "--name", "theirs")
	_, err := l.tryOpen()
	want(l.t, "a pool of LVM's", err, errdefs.IsFailedPrecondition, "thin volumes of LVM's own", group)
	l.lvm("lvremove", "--yes", group+"/theirs")
	_, err = l.tryOpen()
	want(l.t, "a pool that was LVM's", err, errdefs.IsFailedPrecondition, "transaction id")
	l.lvm("lvremove", "--yes", group+"/"+pool.PoolVolume)
	_, err = l.tryOpen()
	want(l.t, "no pool", err, errdefs.IsNotFound, pool.PoolVolume)
	l.newPool(group)
}

// lvmSuspended: LVM hangs on a suspended device; a start resumes ours before
// it asks LVM anything, also when the catalog is not active.
func (l *lab) lvmSuspended(group string, id pool.ThinID, path string) {
	l.t.Helper()
	for _, active := range []bool{true, false} {
		if !active {
			l.lvm("lvchange", "--activate", "n", group+"/"+pool.CatalogVolume)
		}
		if err := l.ctl.Suspend(filepath.Base(path), suspendNow); err != nil {
			l.t.Fatal(err)
		}
		p := l.open()
		if info := l.devices()[id.String()]; info.Suspended {
			l.t.Error("still suspended")
		}
		l.close(p)
	}
}
