package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// NodeExpandVolume implements csi.NodeServer: it grows the file system, while
// it is in use, to the size that the controller gave the volume.
func (s *Server) NodeExpandVolume(ctx context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if err := errors.Join(requiredID(r.GetVolumeId()), emptyPath(r.GetVolumePath())); err != nil {
		return nil, volume.Status(err)
	}
	if len(r.GetSecrets()) > 0 {
		return nil, volume.Status(checkContexts(nil, r.GetSecrets(), nil))
	}
	release, err := s.locks.Exclusive("volume " + r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	size, err := s.expand(ctx, r)
	if err != nil {
		return nil, volume.Status(err)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: size}, nil
}

func (s *Server) expand(ctx context.Context, r *csi.NodeExpandVolumeRequest) (int64, error) {
	v, err := s.backend.Volume(r.GetVolumeId())
	if err != nil {
		return 0, err
	}
	size := volume.Range{Required: r.GetCapacityRange().GetRequiredBytes(), Limit: r.GetCapacityRange().GetLimitBytes()}
	if err := size.Check(); err != nil {
		return 0, err
	}
	if !size.Holds(v.Size) {
		return 0, fmt.Errorf("capacity_range %d to %d: volume %s has %d bytes; call ControllerExpandVolume first: %w",
			size.Required, size.Limit, v.ID, v.Size, volume.ErrRange)
	}
	_, block, err := s.locate(v.ID, r.GetVolumePath())
	if err != nil {
		return 0, err
	}
	rec, staged, err := s.records.load(v.ID)
	if err != nil {
		return 0, err
	}
	if !staged || rec.Phase != ready {
		return 0, precondition("volume %s is not staged: call NodeStageVolume first", v.ID)
	}
	if c := r.GetVolumeCapability(); c != nil {
		asked, err := volume.ParseCapability(c)
		if err != nil {
			return 0, err
		}
		if asked.Block != block {
			return 0, fmt.Errorf("volume_capability: volume %s is staged as %s: %w", v.ID, rec.Capability, volume.ErrInvalid)
		}
	}
	// Attach returns the device with the size of the record.
	d, err := s.backend.Attach(ctx, v.ID, rec.Capability.Block && rec.Capability.ReadOnly())
	if err != nil || block {
		return v.Size, err
	}
	if rec.Capability.ReadOnly() {
		return 0, precondition("volume %s is staged read-only: stage it with a writing access mode to grow its file system", v.ID)
	}
	return v.Size, s.grow(rec.Staging, d)
}

// grow works on the staging path: targets may be read-only.
func (s *Server) grow(staging string, d volume.Device) error {
	at, err := mount.At(staging)
	if err != nil {
		return err
	}
	if len(at) == 0 || at[len(at)-1].Device != d.Number {
		return precondition("%s is not mounted any more: stage the volume again", staging)
	}
	err = volume.Effect("csi.expand.grow", func() error {
		return mount.Grow(staging, d.Path, at[len(at)-1].FSType, d.Size)
	})
	if errors.Is(err, mount.ErrGrowOffline) {
		return fmt.Errorf("%w; it also grows when the volume is staged next: %w", err, volume.ErrInUse)
	}
	return err
}
