package csi_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

type mode = csi.VolumeCapability_AccessMode_Mode

const (
	writer       = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	readerOnly   = csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	singleWriter = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	multiWriter  = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
)

// mounted and raw are the two ways to use a volume.
func mounted(fsType string, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType, MountFlags: flags}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: writer},
	}
}

func raw() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: writer},
	}
}

func with(c *csi.VolumeCapability, m mode) *csi.VolumeCapability {
	c.AccessMode = &csi.VolumeCapability_AccessMode{Mode: m}
	return c
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// wants fails the test unless err has that code.
func wants(t testing.TB, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("answered %v, want %s", err, code)
	}
}

// must fails the test on an error and passes the answer on.
func must[T any](answer T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

func sized(name string, c *csi.VolumeCapability, size int64) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*csi.VolumeCapability{c},
		CapacityRange: &csi.CapacityRange{RequiredBytes: size},
	}
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

func fromVolume(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id}}}
}

// used is a volume that is staged and published.
type used struct {
	d          *driver
	id         string
	capability *csi.VolumeCapability
	staging    string
	target     string
}

func (d *driver) create(r *csi.CreateVolumeRequest) string {
	d.t.Helper()
	return must(d.CreateVolume(soon(d.t), r))(d.t).GetVolume().GetVolumeId()
}

// use stages a volume and publishes it at a place of its own.
func (d *driver) use(id string, c *csi.VolumeCapability) used {
	d.t.Helper()
	u := d.place(id, c)
	must(d.NodeStageVolume(soon(d.t), u.stage()))(d.t)
	must(d.NodePublishVolume(soon(d.t), u.publish()))(d.t)
	return u
}

// place makes the folders that the orchestrator has to make.
func (d *driver) place(id string, c *csi.VolumeCapability) used {
	d.t.Helper()
	u := used{d, id, c, d.path("staging", id), d.path("pods", id, "volume")}
	for _, dir := range []string{u.staging, d.path("pods", id)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			d.t.Fatal(err)
		}
	}
	return u
}

func (u used) stage() *csi.NodeStageVolumeRequest {
	return &csi.NodeStageVolumeRequest{VolumeId: u.id, StagingTargetPath: u.staging, VolumeCapability: u.capability}
}

func (u used) unstage() *csi.NodeUnstageVolumeRequest {
	return &csi.NodeUnstageVolumeRequest{VolumeId: u.id, StagingTargetPath: u.staging}
}

func (u used) publish() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: u.id, StagingTargetPath: u.staging, TargetPath: u.target, VolumeCapability: u.capability,
	}
}

func (u used) unpublish() *csi.NodeUnpublishVolumeRequest {
	return &csi.NodeUnpublishVolumeRequest{VolumeId: u.id, TargetPath: u.target}
}

// release takes the volume out of use.
func (u used) release() {
	u.d.t.Helper()
	must(u.d.NodeUnpublishVolume(soon(u.d.t), u.unpublish()))(u.d.t)
	must(u.d.NodeUnstageVolume(soon(u.d.t), u.unstage()))(u.d.t)
}

func (d *driver) remove(id string) {
	d.t.Helper()
	must(d.DeleteVolume(soon(d.t), &csi.DeleteVolumeRequest{VolumeId: id}))(d.t)
}

func (d *driver) snapshot(name, id string) *csi.Snapshot {
	d.t.Helper()
	return must(d.CreateSnapshot(soon(d.t), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: id}))(d.t).GetSnapshot()
}

func (d *driver) removeSnapshot(id string) {
	d.t.Helper()
	must(d.DeleteSnapshot(soon(d.t), &csi.DeleteSnapshotRequest{SnapshotId: id}))(d.t)
}
