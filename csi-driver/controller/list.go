package controller

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/varve-project/varve/csi-driver/volume"
)

// ListVolumes implements csi.ControllerServer.
func (s *Server) ListVolumes(_ context.Context, r *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	page, next, err := volume.Page(s.backend.Volumes(), func(v volume.Volume) string { return v.ID },
		r.GetMaxEntries(), r.GetStartingToken())
	if err != nil {
		return nil, volume.Status(err)
	}
	out := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range page {
		out.Entries = append(out.Entries, &csi.ListVolumesResponse_Entry{Volume: s.toCSI(v)})
	}
	return out, nil
}

// ControllerGetVolume implements csi.ControllerServer.
func (s *Server) ControllerGetVolume(_ context.Context, r *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	if err := required("volume_id", r.GetVolumeId()); err != nil {
		return nil, err
	}
	v, err := s.backend.Volume(r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	return &csi.ControllerGetVolumeResponse{
		Volume: s.toCSI(v),
		Status: &csi.ControllerGetVolumeResponse_VolumeStatus{},
	}, nil
}

// ListSnapshots implements csi.ControllerServer. A filter that matches nothing
// gives an empty list.
func (s *Server) ListSnapshots(_ context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if err := unused("secrets", r.GetSecrets(), noSecrets); err != nil {
		return nil, err
	}
	var match []volume.Snapshot
	for _, snap := range s.backend.Snapshots() {
		if id := r.GetSnapshotId(); id != "" && id != snap.ID {
			continue
		}
		if id := r.GetSourceVolumeId(); id != "" && id != snap.VolumeID {
			continue
		}
		match = append(match, snap)
	}
	page, next, err := volume.Page(match, func(v volume.Snapshot) string { return v.ID },
		r.GetMaxEntries(), r.GetStartingToken())
	if err != nil {
		return nil, volume.Status(err)
	}
	out := &csi.ListSnapshotsResponse{NextToken: next}
	for _, snap := range page {
		out.Entries = append(out.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: s.snapshotToCSI(snap)})
	}
	return out, nil
}
