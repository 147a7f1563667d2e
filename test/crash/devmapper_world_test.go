package crash_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/test/crash"
	"github.com/varve-project/varve/test/leak"
)

// devmapperWorld is a varve-devmapper on a bare pool, which all worlds share
// one after the other: an emptied pool is as good as a new one.
type devmapperWorld struct {
	overlayWorld
	// size is what no other world asks for, so that a template is made.
	size int
}

var sizes atomic.Int32

const dataDisk, metadataDisk = "/dev/vda", "/dev/vdb"

// makePool makes the pool on the virtual machine's two blank disks.
var makePool = sync.OnceValue(func() error {
	for _, disk := range []string{dataDisk, metadataDisk} {
		f, err := os.Open(disk)
		if err != nil {
			return err
		}
		head := make([]byte, 1<<20)
		_, err = io.ReadFull(f, head)
		f.Close()
		if err != nil {
			return err
		}
		if strings.Trim(string(head), "\x00") != "" {
			return fmt.Errorf("%s is not blank; these tests take blank disks only", disk)
		}
	}
	return pool.FormatCatalog(context.Background(), pool.Identity{
		UUID: pool.NewUUID(), Node: dataDisk, Bytes: 64 << 20, BlockBytes: 64 << 10,
	})
})

// needPool skips anywhere but in a virtual machine of ours.
func needPool(t *testing.T) {
	t.Helper()
	needRoot(t)
	misc, _ := os.ReadFile("/proc/misc")
	mounts, _ := os.ReadFile("/proc/self/mounts")
	if !strings.Contains(string(misc), "device-mapper") || !strings.Contains(string(mounts), " 9p ") {
		t.Skip("kernel lacks: device-mapper with disks for tests; run these with bin/vm")
	}
	if err := makePool(); err != nil {
		t.Fatal(err)
	}
}

func newDevmapper(t testing.TB) devmapperWorld {
	w := devmapperWorld{overlayWorld{crash.NewDaemon(t, "devmapper")}, (64 + int(sizes.Add(1))) << 20}
	config := fmt.Sprintf("base_size = \"512MiB\"\n[pool]\ndata_device = %q\nmetadata_device = %q\nout_of_space = \"error\"\n", dataDisk, metadataDisk)
	if err := os.WriteFile(filepath.Join(w.Dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// Pick leaves out the ioctls' own points: they lie next to the pool's, which
// stand around the same effects.
func (w devmapperWorld) Pick(name string, _ int) bool { return !strings.HasPrefix(name, "dm.") }

// prepareSized prepares a snapshot without parent of the world's own size.
func (w devmapperWorld) prepareSized(key string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.service().Prepare(ctx, key, "", snapshots.WithLabels(map[string]string{
		snapshots.LabelSnapshotMaxSize: fmt.Sprint(w.size),
	}))
	return err
}

// Kernel sees what the world mounts.
func (w devmapperWorld) Kernel() (leak.Snapshot, error) {
	return leak.Take(leak.Scope{Paths: []string{w.Dir}})
}

// Disk is what there is besides the pool's own devices: thin devices that are
// active, and whether one is suspended.
func (w devmapperWorld) Disk() ([]string, error) {
	ctl, err := dm.Open(dm.WithoutScan())
	if err != nil {
		return nil, err
	}
	defer func() { _ = ctl.Close() }()
	all, err := ctl.List()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range all {
		info, err := ctl.Stat(e.Name)
		if err != nil {
			return nil, err
		}
		if info.Suspended {
			list = append(list, e.Name+" suspended")
		}
		list = append(list, kindOf(e.Name))
	}
	return list, nil
}

// kindOf leaves the thin id out, which is another each time.
func kindOf(name string) string {
	return strings.TrimRight(name, "0123456789")
}

// Reconcile is Cleanup; then every thin device belongs to a snapshot or to a
// template, which the daemon's own audit compares with the pool's metadata.
func (w devmapperWorld) Reconcile() error {
	if err := w.cleanup(); err != nil {
		return err
	}
	if err := w.NoOrphans(); err != nil {
		return err
	}
	list, err := w.Disk()
	if err != nil {
		return err
	}
	infos, err := w.walk()
	if err != nil {
		return err
	}
	// Catalog, data and pool; a device for each snapshot at most.
	if len(list) > 3+len(infos) {
		return fmt.Errorf("%d devices are active for %d snapshots: %v", len(list), len(infos), list)
	}
	for _, name := range list {
		if strings.HasSuffix(name, " suspended") {
			return fmt.Errorf("left behind: %s", name)
		}
	}
	return nil
}
