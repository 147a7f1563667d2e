package controller

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
)

// ControllerExpandVolume implements csi.ControllerServer. Devices have the new
// size when it returns; a file system waits for NodeExpandVolume or its next
// staging.
func (s *Server) ControllerExpandVolume(ctx context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if err := required("volume_id", r.GetVolumeId()); err != nil {
		return nil, err
	}
	if r.GetCapacityRange() == nil {
		return nil, status.Error(codes.InvalidArgument, "capacity_range: is required")
	}
	if err := unused("secrets", r.GetSecrets(), noSecrets); err != nil {
		return nil, err
	}
	var capability *volume.Capability
	if c := r.GetVolumeCapability(); c != nil {
		parsed, err := volume.ParseCapability(c)
		if err != nil {
			return nil, volume.Status(err)
		}
		capability = &parsed
	}
	release, err := s.locks.Exclusive("volume " + r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	v, err := s.expand(ctx, r.GetVolumeId(), capacityRange(r.GetCapacityRange()))
	if err != nil {
		return nil, volume.Status(err)
	}
	mounted := v.FSType != ""
	if capability != nil {
		mounted = !capability.Block
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.Size, NodeExpansionRequired: mounted}, nil
}

func (s *Server) expand(ctx context.Context, id string, size volume.Range) (volume.Volume, error) {
	v, err := s.backend.Volume(id)
	if err != nil {
		return v, err
	}
	if err := size.Check(); err != nil {
		return v, err
	}
	if size.Limit > 0 && size.Limit < v.Size {
		return v, fmt.Errorf("capacity_range.limit_bytes %d: volume %s has %d bytes, and volumes never shrink: %w", size.Limit, id, v.Size, volume.ErrRange)
	}
	if size.Holds(v.Size) {
		return v, nil
	}
	bytes, err := s.backend.Limits(v.FSType).Choose(size, 0)
	if err != nil {
		return v, err
	}
	return s.backend.Expand(ctx, id, bytes)
}
