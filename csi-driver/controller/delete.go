package controller

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/varve-project/varve/csi-driver/volume"
)

// DeleteVolume implements csi.ControllerServer. An id that is not there, or
// never could be, is deleted already.
func (s *Server) DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if err := required("volume_id", r.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := unused("secrets", r.GetSecrets(), noSecrets); err != nil {
		return nil, err
	}
	release, err := s.locks.Exclusive("volume " + r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	if err := s.backend.Delete(ctx, r.GetVolumeId()); err != nil {
		return nil, volume.Status(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// DeleteSnapshot implements csi.ControllerServer.
func (s *Server) DeleteSnapshot(ctx context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if err := required("snapshot_id", r.GetSnapshotId()); err != nil {
		return nil, err
	}
	if err := unused("secrets", r.GetSecrets(), noSecrets); err != nil {
		return nil, err
	}
	release, err := s.locks.Exclusive("snapshot " + r.GetSnapshotId())
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	if err := s.backend.DeleteSnapshot(ctx, r.GetSnapshotId()); err != nil {
		return nil, volume.Status(err)
	}
	return &csi.DeleteSnapshotResponse{}, nil
}
