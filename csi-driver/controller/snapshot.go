package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/varve-project/varve/csi-driver/volume"
)

// CreateSnapshot implements csi.ControllerServer.
func (s *Server) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if err := errors.Join(
		volume.CheckName(r.GetName()),
		required("source_volume_id", r.GetSourceVolumeId()),
		checkParameters(r.GetParameters(), snapshotMetadata),
		unused("secrets", r.GetSecrets(), noSecrets),
		s.node.Accept(r.GetAccessibilityRequirements()),
	); err != nil {
		return nil, volume.Status(err)
	}
	release, err := s.locks.Exclusive(snapshotNamed(r.GetName()))
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	snap, err := s.backend.SnapshotByName(r.GetName())
	switch {
	case err == nil && snap.VolumeID != r.GetSourceVolumeId():
		err = fmt.Errorf("snapshot %q (%s): source_volume_id is %s, asked for %s: %w",
			snap.Name, snap.ID, snap.VolumeID, r.GetSourceVolumeId(), volume.ErrConflict)
	case errors.Is(err, volume.ErrNotFound):
		snap, err = s.takeSnapshot(ctx, r)
	}
	if err != nil {
		return nil, volume.Status(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: s.snapshotToCSI(snap)}, nil
}

func (s *Server) takeSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (volume.Snapshot, error) {
	release, err := s.locks.Exclusive("volume " + r.GetSourceVolumeId())
	if err != nil {
		return volume.Snapshot{}, err
	}
	defer release()
	return s.backend.TakeSnapshot(ctx, volume.TakeSnapshot{Name: r.GetName(), VolumeID: r.GetSourceVolumeId()})
}

// GetSnapshot implements csi.ControllerServer.
func (s *Server) GetSnapshot(_ context.Context, r *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	if err := required("snapshot_id", r.GetSnapshotId()); err != nil {
		return nil, err
	}
	if err := unused("secrets", r.GetSecrets(), noSecrets); err != nil {
		return nil, err
	}
	snap, err := s.backend.Snapshot(r.GetSnapshotId())
	if err != nil {
		return nil, volume.Status(err)
	}
	return &csi.GetSnapshotResponse{Snapshot: s.snapshotToCSI(snap)}, nil
}

// snapshotToCSI is the form that every call returns a snapshot in. Its size is
// never 0: backup tools take that for "nothing to restore".
func (s *Server) snapshotToCSI(snap volume.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId:         snap.ID,
		SourceVolumeId:     snap.VolumeID,
		SizeBytes:          snap.Size,
		CreationTime:       timestamppb.New(snap.Created),
		ReadyToUse:         true,
		AccessibleTopology: []*csi.Topology{s.node.Topology()},
	}
}
