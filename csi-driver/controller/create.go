package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
)

// CreateVolume implements csi.ControllerServer.
func (s *Server) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	want, err := s.parseCreate(r)
	if err != nil {
		return nil, volume.Status(err)
	}
	release, err := s.locks.Exclusive(volumeNamed(want.Name))
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	size := capacityRange(r.GetCapacityRange())
	v, err := s.backend.VolumeByName(want.Name)
	switch {
	case err == nil:
		err = compare(v, want, size)
	case errors.Is(err, volume.ErrNotFound):
		v, err = s.create(ctx, want, size)
	}
	if err != nil {
		return nil, volume.Status(err)
	}
	return &csi.CreateVolumeResponse{Volume: s.toCSI(v)}, nil
}

func (s *Server) parseCreate(r *csi.CreateVolumeRequest) (volume.CreateVolume, error) {
	want := volume.CreateVolume{Name: r.GetName(), Parameters: r.GetParameters()}
	caps, err := parseCapabilities(r.GetVolumeCapabilities())
	if err == nil {
		want.FSType, err = fsType(caps)
	}
	if err == nil {
		want.Source, err = source(r.GetVolumeContentSource())
	}
	return want, errors.Join(
		volume.CheckName(r.GetName()), err,
		capacityRange(r.GetCapacityRange()).Check(),
		checkParameters(r.GetParameters(), volumeMetadata),
		unused("mutable_parameters", r.GetMutableParameters(), "this driver has no mutable parameters"),
		unused("secrets", r.GetSecrets(), noSecrets),
		s.node.Accept(r.GetAccessibilityRequirements()),
	)
}

func parseCapabilities(list []*csi.VolumeCapability) ([]volume.Capability, error) {
	if len(list) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_capabilities: at least one is required")
	}
	var caps []volume.Capability
	for i, c := range list {
		parsed, err := volume.ParseCapability(c)
		if err != nil {
			return nil, fmt.Errorf("volume_capabilities[%d]: %w", i, err)
		}
		caps = append(caps, parsed)
	}
	return caps, nil
}

// fsType returns the file system that all of caps can live with, "" for none.
func fsType(caps []volume.Capability) (string, error) {
	var wanted string
	mounted := false
	for _, c := range caps {
		if c.Block {
			continue
		}
		mounted = true
		if wanted != "" && c.FSType != "" && c.FSType != wanted {
			return "", fmt.Errorf("volume_capabilities: fs_type %q and %q at once: %w", wanted, c.FSType, volume.ErrInvalid)
		}
		wanted = max(wanted, c.FSType)
	}
	if mounted && wanted == "" {
		wanted = volume.DefaultFSType
	}
	return wanted, nil
}

func source(c *csi.VolumeContentSource) (volume.Source, error) {
	switch from := c.GetType().(type) {
	case *csi.VolumeContentSource_Snapshot:
		id := from.Snapshot.GetSnapshotId()
		return volume.Source{SnapshotID: id}, required("volume_content_source.snapshot.snapshot_id", id)
	case *csi.VolumeContentSource_Volume:
		id := from.Volume.GetVolumeId()
		return volume.Source{VolumeID: id}, required("volume_content_source.volume.volume_id", id)
	}
	if c != nil {
		return volume.Source{}, status.Error(codes.InvalidArgument, "volume_content_source: neither snapshot nor volume is given")
	}
	return volume.Source{}, nil
}

// compare tells whether a repeated call asks for what its first one made.
func compare(v volume.Volume, want volume.CreateVolume, size volume.Range) error {
	conflict := func(field string, have, asked any) error {
		return fmt.Errorf("volume %q (%s): %s is %v, asked for %v: %w", v.Name, v.ID, field, have, asked, volume.ErrConflict)
	}
	switch {
	case !size.Holds(v.Size):
		return conflict("capacity", v.Size, fmt.Sprintf("%d to %d", size.Required, size.Limit))
	case v.Source != want.Source:
		return conflict("volume_content_source", v.Source, want.Source)
	case !maps.Equal(v.Parameters, want.Parameters):
		return conflict("parameters", v.Parameters, want.Parameters)
	case v.FSType != want.FSType:
		return conflict("fs_type", fmt.Sprintf("%q", v.FSType), fmt.Sprintf("%q", want.FSType))
	}
	return nil
}

func (s *Server) create(ctx context.Context, want volume.CreateVolume, size volume.Range) (volume.Volume, error) {
	var floor int64
	switch {
	case want.Source.SnapshotID != "":
		release, err := s.locks.Shared("snapshot " + want.Source.SnapshotID)
		if err != nil {
			return volume.Volume{}, err
		}
		defer release()
		from, err := s.backend.Snapshot(want.Source.SnapshotID)
		if err != nil {
			return volume.Volume{}, fmt.Errorf("volume_content_source: %w", err)
		}
		floor = from.Size
	case want.Source.VolumeID != "":
		// Exclusive: the source's file system is frozen for a moment.
		release, err := s.locks.Exclusive("volume " + want.Source.VolumeID)
		if err != nil {
			return volume.Volume{}, err
		}
		defer release()
		from, err := s.backend.Volume(want.Source.VolumeID)
		if err != nil {
			return volume.Volume{}, fmt.Errorf("volume_content_source: %w", err)
		}
		floor = from.Size
	}
	var err error
	if want.Size, err = s.backend.Limits(want.FSType).Choose(size, floor); err != nil {
		return volume.Volume{}, err
	}
	return s.backend.Create(ctx, want)
}

func capacityRange(r *csi.CapacityRange) volume.Range {
	return volume.Range{Required: r.GetRequiredBytes(), Limit: r.GetLimitBytes()}
}

// toCSI is the form that every call returns a volume in.
func (s *Server) toCSI(v volume.Volume) *csi.Volume {
	out := &csi.Volume{
		VolumeId:           v.ID,
		CapacityBytes:      v.Size,
		AccessibleTopology: []*csi.Topology{s.node.Topology()},
	}
	switch {
	case v.Source.SnapshotID != "":
		out.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: v.Source.SnapshotID}}}
	case v.Source.VolumeID != "":
		out.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: v.Source.VolumeID}}}
	}
	return out
}
