package volume_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/volume"
)

// driver is a CSI driver of another make: it can do what the test says, keeps
// nothing, and notes what it is asked.
type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer

	controller []csi.ControllerServiceCapability_RPC_Type
	node       []csi.NodeServiceCapability_RPC_Type
	topology   bool
	// nowhere makes NodePublishVolume mount nothing.
	nowhere bool

	mu    sync.Mutex
	calls []string
	// fail is the answer to the next call of that name.
	fail    map[string]error
	created []*csi.CreateVolumeRequest
	// pending is how often a snapshot is not ready yet.
	pending int
}

// key is the claim of most tests.
var key = pod.Key{Namespace: "default", Name: "data"}

// open serves the driver and opens a store on it.
func open(t *testing.T, d *driver) *volume.Store {
	t.Helper()
	dir, err := os.MkdirTemp("", "volume") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := config.Default()
	c.Root, c.State = filepath.Join(dir, "root"), dir
	listener, err := net.Listen("unix", c.CSISocket())
	if err != nil {
		t.Fatal(err)
	}
	d.fail = map[string]error{}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	s := volume.Open(c)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// note writes a call down and says whether it shall fail.
func (d *driver) note(call string, details ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, strings.Join(append([]string{call}, details...), " "))
	err := d.fail[call]
	delete(d.fail, call)
	return err
}

// asked compares the calls since the last look.
func (d *driver) asked(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.calls, want) {
		t.Errorf("the driver was asked %q, want %q", d.calls, want)
	}
	d.calls = nil
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: "test.example"}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	r := &csi.GetPluginCapabilitiesResponse{}
	add := func(t csi.PluginCapability_Service_Type) {
		r.Capabilities = append(r.Capabilities, &csi.PluginCapability{
			Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}},
		})
	}
	if len(d.controller) > 0 {
		add(csi.PluginCapability_Service_CONTROLLER_SERVICE)
	}
	if d.topology {
		add(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS)
	}
	return r, nil
}

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	r := &csi.ControllerGetCapabilitiesResponse{}
	for _, c := range d.controller {
		r.Capabilities = append(r.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: c}},
		})
	}
	return r, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range d.node {
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}},
		})
	}
	return r, nil
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: "node", AccessibleTopology: &csi.Topology{Segments: map[string]string{"zone": "a"}}}, nil
}

func (d *driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if err := d.note("create"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.created = append(d.created, r)
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: "id-" + r.GetName(), CapacityBytes: r.GetCapacityRange().GetRequiredBytes(),
	}}, nil
}

func (d *driver) DeleteVolume(context.Context, *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	return &csi.DeleteVolumeResponse{}, d.note("delete")
}

func (d *driver) ControllerPublishVolume(_ context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	return &csi.ControllerPublishVolumeResponse{PublishContext: map[string]string{"device": "sdx"}}, d.note("attach", r.GetNodeId())
}

func (d *driver) ControllerUnpublishVolume(_ context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	return &csi.ControllerUnpublishVolumeResponse{}, d.note("detach", r.GetNodeId())
}

func (d *driver) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	return &csi.NodeStageVolumeResponse{}, d.note("stage")
}

func (d *driver) NodeUnstageVolume(context.Context, *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, d.note("unstage")
}

func (d *driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	details := []string{filepath.Base(r.GetTargetPath()), r.GetPublishContext()["device"]}
	if r.GetStagingTargetPath() != "" {
		details = append(details, "staged")
	}
	if err := d.note("publish", strings.TrimSpace(strings.Join(details, " "))); err != nil || d.nowhere {
		return &csi.NodePublishVolumeResponse{}, err
	}
	if err := os.MkdirAll(r.GetTargetPath(), 0o700); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, unix.Mount("test", r.GetTargetPath(), "tmpfs", 0, "")
}

func (d *driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	_ = unix.Unmount(r.GetTargetPath(), unix.MNT_DETACH)
	return &csi.NodeUnpublishVolumeResponse{}, d.note("unpublish", filepath.Base(r.GetTargetPath()))
}

func (d *driver) CreateSnapshot(_ context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	err := d.note("snapshot")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending--
	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{SnapshotId: "s-" + r.GetName(), SizeBytes: 7, ReadyToUse: d.pending < 0}}, err
}

func (d *driver) DeleteSnapshot(context.Context, *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	return &csi.DeleteSnapshotResponse{}, d.note("delete snapshot")
}

func (d *driver) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: r.GetCapacityRange().GetRequiredBytes(), NodeExpansionRequired: true}, d.note("expand")
}

func (d *driver) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	return &csi.NodeExpandVolumeResponse{}, d.note("expand on node", filepath.Base(r.GetVolumePath()))
}
