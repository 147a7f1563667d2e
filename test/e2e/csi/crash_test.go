package csi_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"

	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/test/built"
)

// scenario is one mutating call, killed at every failpoint that it passes.
type scenario struct {
	name string
	// prepare makes what the call needs and returns the call. The call may be
	// repeated, also by a driver that was started again.
	prepare func(d *driver) (call func() error)
}

// volume makes a volume with some content that is in use.
func (d *driver) volume(name string, c *csi.VolumeCapability) used {
	d.t.Helper()
	u := d.use(d.create(sized(name, c, 64*mib)), c)
	if c.GetBlock() == nil {
		fill(d.t, u.target, 7, 20, 4096)
	}
	return u
}

var scenarios = []scenario{
	{"create", func(d *driver) func() error {
		return func() error {
			_, err := d.CreateVolume(soon(d.t), sized("v", mounted("ext4"), 64*mib))
			return err
		}
	}},
	{"restore", func(d *driver) func() error {
		id := d.create(sized("v", mounted("ext4"), 64*mib))
		r := sized("restored", mounted("ext4"), 80*mib)
		r.VolumeContentSource = fromSnapshot(d.snapshot("s", id).GetSnapshotId())
		return func() error { _, err := d.CreateVolume(soon(d.t), r); return err }
	}},
	{"clone", func(d *driver) func() error {
		r := sized("clone", mounted("ext4"), 64*mib)
		r.VolumeContentSource = fromVolume(d.volume("v", mounted("ext4")).id)
		return func() error { _, err := d.CreateVolume(soon(d.t), r); return err }
	}},
	{"delete", func(d *driver) func() error {
		id := d.create(sized("v", raw(), 64*mib))
		return func() error {
			_, err := d.DeleteVolume(soon(d.t), &csi.DeleteVolumeRequest{VolumeId: id})
			return err
		}
	}},
	{"snapshot", func(d *driver) func() error {
		id := d.volume("v", mounted("ext4")).id
		return func() error {
			_, err := d.CreateSnapshot(soon(d.t), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: id})
			return err
		}
	}},
	{"snapshot-raw", func(d *driver) func() error {
		id := d.volume("v", raw()).id
		return func() error {
			_, err := d.CreateSnapshot(soon(d.t), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: id})
			return err
		}
	}},
	{"delete-snapshot", func(d *driver) func() error {
		id := d.snapshot("s", d.create(sized("v", raw(), 64*mib))).GetSnapshotId()
		return func() error {
			_, err := d.DeleteSnapshot(soon(d.t), &csi.DeleteSnapshotRequest{SnapshotId: id})
			return err
		}
	}},
	{"expand", func(d *driver) func() error {
		id := d.volume("v", raw()).id
		return func() error {
			_, err := d.ControllerExpandVolume(soon(d.t), &csi.ControllerExpandVolumeRequest{
				VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 96 * mib}})
			return err
		}
	}},
	{"node-expand", func(d *driver) func() error {
		u := d.use(d.create(sized("v", mounted("xfs"), 304*mib)), mounted("xfs"))
		d.expand(u.id, 320*mib)
		return func() error {
			_, err := d.NodeExpandVolume(soon(d.t), &csi.NodeExpandVolumeRequest{VolumeId: u.id, VolumePath: u.target})
			return err
		}
	}},
	{"stage", func(d *driver) func() error {
		u := d.place(d.create(sized("v", mounted("ext4"), 64*mib)), mounted("ext4"))
		d.expand(u.id, 80*mib)
		return func() error { _, err := d.NodeStageVolume(soon(d.t), u.stage()); return err }
	}},
	{"publish", publishing(mounted("ext4"), false)},
	{"publish-raw-read-only", publishing(raw(), true)},
	{"unpublish", func(d *driver) func() error {
		u := d.volume("v", mounted("ext4"))
		return func() error { _, err := d.NodeUnpublishVolume(soon(d.t), u.unpublish()); return err }
	}},
	{"unstage", func(d *driver) func() error {
		u := d.volume("v", mounted("ext4"))
		must(d.NodeUnpublishVolume(soon(d.t), u.unpublish()))(d.t)
		return func() error { _, err := d.NodeUnstageVolume(soon(d.t), u.unstage()); return err }
	}},
}

// publishing stages and publishes: after a crash the caller begins with the
// staging again, which may have been given back.
func publishing(c *csi.VolumeCapability, readOnly bool) func(d *driver) func() error {
	return func(d *driver) func() error {
		u := d.place(d.create(sized("v", c, 64*mib)), c)
		must(d.NodeStageVolume(soon(d.t), u.stage()))(d.t)
		r := u.publish()
		r.Readonly = readOnly
		return func() error { _, err := d.NodePublishVolume(soon(d.t), r); return err }
	}
}

// Every mutating call is killed before and after each of its effects; then the
// driver starts again, the call is repeated, and everything is taken down.
// Nothing may be lost, stuck or left.
func TestKillAtEveryEffect(t *testing.T) {
	binary := built.Failpoint(t, "varve-csi")
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t, binary, "--store-size", "1GiB")
			d.inMemory()
			for _, point := range learn(t, d, s) {
				d.start("VARVE_FAILPOINT=" + point)
				call := s.prepare(d)
				if err := call(); err == nil {
					t.Errorf("%s: the call succeeded, although it should have been killed", point)
					d.kill()
				} else {
					d.ended()
				}
				d.start()
				if err := call(); err != nil {
					t.Errorf("%s: the repeated call: %v", point, err)
				}
				takeDown(t, d, point)
				d.kill() // between calls there is nothing that it could break
				if t.Failed() {
					t.Fatalf("stop at the first failure; the log:\n%s", d.logged())
				}
			}
			d.start()
		})
	}
}

// learn runs the call once and returns a failpoint specification for each point
// that the call itself passes: a point that the preparation passed twice is to
// kill at its third hit.
func learn(t *testing.T, d *driver, s scenario) []string {
	t.Helper()
	d.start() // makes the store, so that every later start passes the same points
	d.kill()
	trace := d.path("trace")
	d.start("VARVE_FAILPOINT_LOG=" + trace)
	call := s.prepare(d)
	before := hits(t, trace)
	if err := call(); err != nil {
		t.Fatal(err)
	}
	var points []string
	for name, n := range hits(t, trace) {
		for hit := before[name] + 1; hit <= n; hit++ {
			points = append(points, fmt.Sprintf("%s=kill@%d", name, hit))
		}
	}
	takeDown(t, d, "the first run")
	d.kill()
	if len(points) < 2 {
		t.Fatalf("the call passes only the failpoints %q", points)
	}
	slices.Sort(points)
	t.Logf("%d failpoints", len(points))
	return points
}

// hits counts the lines of a failpoint log.
func hits(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, name := range strings.Fields(string(text)) {
		count[name]++
	}
	return count
}

// takeDown removes every volume and snapshot as an orchestrator would, and
// checks that the pool and the kernel hold nothing any more.
func takeDown(t *testing.T, d *driver, point string) {
	t.Helper()
	volumes := must(d.ListVolumes(soon(t), &csi.ListVolumesRequest{}))(t).GetEntries()
	for _, e := range volumes {
		u := d.place(e.GetVolume().GetVolumeId(), nil)
		u.release()
		d.remove(u.id)
	}
	for _, e := range must(d.ListSnapshots(soon(t), &csi.ListSnapshotsRequest{}))(t).GetEntries() {
		d.removeSnapshot(e.GetSnapshot().GetSnapshotId())
	}
	for _, name := range []string{
		"root/pool/store/volumes", "root/pool/store/snapshots", "root/pool/store/work",
		"root/pool/store/trash", "root/pool/store/journal", "root/node",
	} {
		left, err := filepath.Glob(d.path(name, "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left in the pool: %q (%v)", point, left, err)
		}
	}
	if err := onlyStore(d.dir); err != nil {
		t.Errorf("%s: %v", point, err)
	}
}

// onlyStore wants no loop device of the test's but the store's own.
func onlyStore(dir string) error {
	devices, err := loop.List()
	if err != nil {
		return err
	}
	for _, l := range devices {
		if strings.HasPrefix(l.Backing, dir+"/") && filepath.Base(l.Backing) != "store.xfs" {
			return fmt.Errorf("loop device %s on %s is left", l.Path, l.Backing)
		}
	}
	return nil
}

// A caller that is told nothing and never comes back leaves nothing behind
// either: the next start gives back what was half staged or published.
func TestKilledAndGivenUp(t *testing.T) {
	binary := built.Failpoint(t, "varve-csi")
	for _, s := range scenarios {
		if s.name != "stage" && s.name != "publish" && s.name != "publish-raw-read-only" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t, binary, "--store-size", "1GiB")
			d.inMemory()
			for _, point := range learn(t, d, s) {
				if strings.Contains(point, ".done.after") {
					continue // done, although nobody was told
				}
				d.start("VARVE_FAILPOINT=" + point)
				call := s.prepare(d)
				before := held(t, d)
				if err := call(); err == nil {
					t.Fatalf("%s: the call succeeded, although it should have been killed", point)
				}
				d.ended()
				d.start()
				if after := held(t, d); !slices.Equal(before, after) {
					t.Errorf("%s: held %q, before the call %q", point, after, before)
				}
				takeDown(t, d, point)
				d.kill()
			}
			d.start()
		})
	}
}

// held lists mounts and loop devices of the test, and its target folders.
func held(t *testing.T, d *driver) []string {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(d.dir))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range mounts {
		list = append(list, "mount "+m.Mountpoint)
	}
	devices, err := loop.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range devices {
		if strings.HasPrefix(l.Backing, d.dir+"/") {
			list = append(list, fmt.Sprintf("loop on %s, read-only %t", l.Backing, l.ReadOnly))
		}
	}
	targets, err := filepath.Glob(d.path("pods", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	list = append(list, targets...)
	slices.Sort(list)
	return list
}
