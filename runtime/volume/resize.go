package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/pod"
)

// Resize grows a volume to at least bytes, in use or not. It may be repeated.
func (s *Store) Resize(ctx context.Context, k pod.Key, bytes int64) (_ *Volume, err error) {
	l, err := s.lock(ctx, "volume", k)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Release()) }()
	v, err := s.Get(k)
	if err != nil {
		return nil, err
	}
	if v.State != Ready {
		return nil, fmt.Errorf("volume %s is still %s", k, v.State)
	}
	if bytes < v.Capacity {
		return nil, fmt.Errorf("volume %s has %d bytes; a volume cannot shrink to %d", k, v.Capacity, bytes)
	}
	d, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.needs(csi.ControllerServiceCapability_RPC_EXPAND_VOLUME, "grow volumes"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	size := &csi.CapacityRange{RequiredBytes: bytes}
	failpoint.Hit("runtime.volume-resize.csi.before")
	res, err := d.controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: v.ID, CapacityRange: size, VolumeCapability: v.Request.capability(),
	})
	failpoint.Hit("runtime.volume-resize.csi.after")
	if err != nil {
		return nil, fmt.Errorf("grow volume %s: %w", k, err)
	}
	if res.GetNodeExpansionRequired() {
		if err := s.expandOnNode(ctx, d, v, size); err != nil {
			return nil, err
		}
	}
	v.Capacity = res.GetCapacityBytes()
	return v, put(s.volumesDir(), k, v)
}

// expandOnNode grows the file system of a volume that is staged; one that is
// not grows when it is next staged, as CSI has drivers do.
func (s *Store) expandOnNode(ctx context.Context, d *driver, v *Volume, size *csi.CapacityRange) error {
	users, err := s.users(v.Key)
	if err != nil || len(users) == 0 {
		return err
	}
	target, err := os.ReadFile(s.userPath(v.Key, users[0]))
	if err != nil {
		return fmt.Errorf("grow volume %s on the node: %w", v.Key, err)
	}
	_, err = d.node.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
		VolumeId: v.ID, VolumePath: string(target), StagingTargetPath: s.stagePath(v.Key),
		CapacityRange: size, VolumeCapability: v.Request.capability(),
	})
	if err != nil {
		return fmt.Errorf("grow volume %s on the node: %w", v.Key, err)
	}
	return nil
}
