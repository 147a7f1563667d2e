package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"

	"github.com/varve-project/varve/test/crash"
	"github.com/varve-project/varve/test/leak"
)

// csiWorld is a varve-csi with its default pool: a store file that it makes
// itself, since the folder is in memory, which cannot reflink.
type csiWorld struct {
	*crash.Daemon
	// vol and snap are the ids of what set-ups made.
	vol, snap string
	// fs and size are those of its volumes.
	fs   string
	size int64
	// raw means that a volume is used as a device.
	raw bool
}

func newCSI(t testing.TB) *csiWorld {
	return &csiWorld{
		Daemon: crash.NewDaemon(t, "csi", "--store-size", "1GiB", "--node-id", "crash"),
		fs:     "ext4", size: 64 * mib,
	}
}

func (w *csiWorld) Kernel() (leak.Snapshot, error) {
	return leak.Take(leak.Scope{Paths: []string{w.Dir}})
}

func (w *csiWorld) Disk() ([]string, error) { return crash.Tree(w.Root) }

// Reconcile has nothing to wait for: start-up repairs before it serves.
func (w *csiWorld) Reconcile() error { return errors.Join(w.NoOrphans(), w.noIdleDevice()) }

// noIdleDevice does not trust the part's own doctor: each loop device over one
// of its files is mounted. Half a NodeStage would leave one that is not. A raw
// volume's device is not to be told from that.
func (w *csiWorld) noIdleDevice() error {
	if w.raw {
		return nil
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, path := range files {
		file, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(file), w.Dir+"/") {
			continue // detached since, or another's
		}
		device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(path)))
		if !slices.ContainsFunc(mounts, func(m *mountinfo.Info) bool { return m.Source == device }) {
			return fmt.Errorf("%s is attached to %s and mounted nowhere", device, strings.TrimSpace(string(file)))
		}
	}
	return nil
}

func (w *csiWorld) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

func (w *csiWorld) controller() csi.ControllerClient { return csi.NewControllerClient(w.Conn()) }
func (w *csiWorld) node() csi.NodeClient             { return csi.NewNodeClient(w.Conn()) }

// The paths that the tests stage and publish at.
func (w *csiWorld) staging() string           { return filepath.Join(w.Dir, "staging") }
func (w *csiWorld) target(name string) string { return filepath.Join(w.Dir, "pods", name) }

var targets = []string{"a", "look"}

const mib = 1 << 20

func (w *csiWorld) filesystem() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: w.fs}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func raw() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func (w *csiWorld) create(name string, c *csi.VolumeCapability, from *csi.VolumeContentSource) (string, error) {
	ctx, cancel := w.context()
	defer cancel()
	answer, err := w.controller().CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: w.size},
		VolumeCapabilities: []*csi.VolumeCapability{c}, VolumeContentSource: from,
	})
	return answer.GetVolume().GetVolumeId(), err
}

func (w *csiWorld) remove(id string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.controller().DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
	return err
}

func (w *csiWorld) snapshot(name string) (string, error) {
	ctx, cancel := w.context()
	defer cancel()
	answer, err := w.controller().CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: w.vol})
	return answer.GetSnapshot().GetSnapshotId(), err
}

func (w *csiWorld) removeSnapshot(id string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.controller().DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
	return err
}

func (w *csiWorld) expand(bytes int64) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.controller().ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: w.vol, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: w.filesystem(),
	})
	return err
}

func (w *csiWorld) stage(id string, c *csi.VolumeCapability) error {
	if err := os.MkdirAll(w.staging(), 0o700); err != nil {
		return err
	}
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.node().NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: id, StagingTargetPath: w.staging(), VolumeCapability: c,
	})
	return err
}

func (w *csiWorld) unstage(id string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.node().NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: w.staging()})
	return err
}

func (w *csiWorld) publish(id, target string, c *csi.VolumeCapability) error {
	if err := os.MkdirAll(filepath.Dir(w.target(target)), 0o700); err != nil {
		return err
	}
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.node().NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: id, StagingTargetPath: w.staging(), TargetPath: w.target(target), VolumeCapability: c,
	})
	return err
}

func (w *csiWorld) unpublish(id, target string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.node().NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: w.target(target)})
	return err
}

func (w *csiWorld) volumes() ([]*csi.Volume, error) {
	ctx, cancel := w.context()
	defer cancel()
	answer, err := w.controller().ListVolumes(ctx, &csi.ListVolumesRequest{})
	var all []*csi.Volume
	for _, e := range answer.GetEntries() {
		all = append(all, e.Volume)
	}
	return all, err
}

func (w *csiWorld) snapshots() ([]*csi.Snapshot, error) {
	ctx, cancel := w.context()
	defer cancel()
	answer, err := w.controller().ListSnapshots(ctx, &csi.ListSnapshotsRequest{})
	var all []*csi.Snapshot
	for _, e := range answer.GetEntries() {
		all = append(all, e.Snapshot)
	}
	return all, err
}

// count checks how many volumes and snapshots there are: no call may leave two
// for one name.
func (w *csiWorld) count(volumes, snapshots int) error {
	vols, err := w.volumes()
	snaps, err2 := w.snapshots()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if len(vols) != volumes || len(snaps) != snapshots {
		return fmt.Errorf("there are %d volumes and %d snapshots, want %d and %d", len(vols), len(snaps), volumes, snapshots)
	}
	return nil
}

func (w *csiWorld) Empty() error {
	vols, err := w.volumes()
	errs := []error{err}
	for _, v := range vols {
		for _, target := range targets {
			errs = append(errs, w.unpublish(v.VolumeId, target))
		}
		errs = append(errs, w.unstage(v.VolumeId), w.remove(v.VolumeId))
	}
	snaps, err := w.snapshots()
	errs = append(errs, err)
	for _, s := range snaps {
		errs = append(errs, w.removeSnapshot(s.SnapshotId))
	}
	return errors.Join(append(errs, w.count(0, 0), w.poolIsEmpty(), os.RemoveAll(w.target("")), os.RemoveAll(w.staging()))...)
}

// poolIsEmpty looks for itself: no image is left in the store.
func (w *csiWorld) poolIsEmpty() error {
	left, err := filepath.Glob(filepath.Join(w.Root, "pool", "store", "*", "*"))
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("without volumes and snapshots the pool still holds %q", left)
	}
	return err
}
