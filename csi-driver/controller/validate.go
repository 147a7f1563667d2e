package controller

import (
	"context"
	"fmt"
	"maps"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
)

// ValidateVolumeCapabilities implements csi.ControllerServer. What cannot be
// confirmed is no error: the answer says why.
func (s *Server) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if err := required("volume_id", r.GetVolumeId()); err != nil {
		return nil, err
	}
	if len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_capabilities: at least one is required")
	}
	if err := unused("secrets", r.GetSecrets(), noSecrets); err != nil {
		return nil, err
	}
	v, err := s.backend.Volume(r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	if why := doubt(v, r); why != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: why.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext:      r.GetVolumeContext(),
		VolumeCapabilities: r.GetVolumeCapabilities(),
		Parameters:         r.GetParameters(),
	}}, nil
}

// doubt returns why the volume cannot be used as asked, nil when it can.
func doubt(v volume.Volume, r *csi.ValidateVolumeCapabilitiesRequest) error {
	caps, err := parseCapabilities(r.GetVolumeCapabilities())
	if err != nil {
		return err
	}
	for i, c := range caps {
		if !c.Block && v.FSType == "" {
			return fmt.Errorf("volume_capabilities[%d]: the volume was made as a raw device", i)
		}
		if c.FSType != "" && c.FSType != v.FSType {
			return fmt.Errorf("volume_capabilities[%d].mount.fs_type %q: the volume has %s", i, c.FSType, v.FSType)
		}
	}
	if err := unused("mutable_parameters", r.GetMutableParameters(), "this driver has no mutable parameters"); err != nil {
		return err
	}
	if p := r.GetParameters(); len(p) > 0 && !maps.Equal(p, v.Parameters) {
		return fmt.Errorf("parameters: the volume was made with %v", v.Parameters)
	}
	return volume.CheckContext(r.GetVolumeContext())
}
