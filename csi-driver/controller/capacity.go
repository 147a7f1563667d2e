package controller

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/varve-project/varve/csi-driver/volume"
)

// GetCapacity implements csi.ControllerServer. What another node has, or what
// no volume here could be used as, is none.
func (s *Server) GetCapacity(_ context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	if err := checkParameters(r.GetParameters(), nil); err != nil {
		return nil, err
	}
	var wanted string
	if list := r.GetVolumeCapabilities(); len(list) > 0 {
		caps, err := parseCapabilities(list)
		if err == nil {
			wanted, err = fsType(caps)
		}
		if err != nil {
			return &csi.GetCapacityResponse{}, nil
		}
	}
	if !s.node.In(r.GetAccessibleTopology()) {
		return &csi.GetCapacityResponse{}, nil
	}
	c, err := s.backend.Capacity()
	if err != nil {
		return nil, volume.Status(err)
	}
	limits := s.backend.Limits(wanted)
	return &csi.GetCapacityResponse{
		AvailableCapacity: c.Available,
		MaximumVolumeSize: wrapperspb.Int64(min(c.Available, limits.Max)),
		MinimumVolumeSize: wrapperspb.Int64(limits.Min),
	}, nil
}
