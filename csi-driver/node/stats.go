package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// NodeGetVolumeStats implements csi.NodeServer.
func (s *Server) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	path := r.GetVolumePath()
	if err := errors.Join(requiredID(r.GetVolumeId()), emptyPath(path)); err != nil {
		return nil, volume.Status(err)
	}
	d, block, err := s.locate(r.GetVolumeId(), path)
	if err != nil {
		return nil, volume.Status(err)
	}
	if block {
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
			{Unit: csi.VolumeUsage_BYTES, Total: d.Size},
		}}, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return nil, volume.Status(fmt.Errorf("usage of %s: %w", path, err))
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit:      csi.VolumeUsage_BYTES,
			Total:     int64(st.Blocks) * st.Bsize,
			Used:      (int64(st.Blocks) - int64(st.Bfree)) * st.Bsize,
			Available: int64(st.Bavail) * st.Bsize,
		},
		{
			Unit:      csi.VolumeUsage_INODES,
			Total:     int64(st.Files),
			Used:      int64(st.Files) - int64(st.Ffree),
			Available: int64(st.Ffree),
		},
	}}, nil
}

// emptyPath refuses no path at all; one where the volume is not is NOT_FOUND,
// whatever it looks like.
func emptyPath(path string) error {
	if path == "" {
		return status.Error(codes.InvalidArgument, "volume_path: is required")
	}
	return nil
}

// locate returns the device that path shows, and whether it does so as a node.
func (s *Server) locate(id, path string) (d volume.Device, block bool, err error) {
	if _, err := s.backend.Volume(id); err != nil {
		return d, false, err
	}
	at, err := mount.At(clean(path))
	if err != nil {
		return d, false, err
	}
	for _, readOnly := range []bool{false, true} {
		d, attached, err := s.backend.Attached(id, readOnly)
		if err != nil {
			return d, false, err
		}
		if n := len(at); attached && n > 0 {
			ours, err := carries(path, at[n-1], d.Number)
			if err != nil || ours {
				return d, at[n-1].Device != d.Number, err
			}
		}
	}
	// A raw device has no mount at its staging path.
	rec, staged, err := s.records.load(id)
	if err == nil && staged && rec.Capability.Block && rec.Staging == clean(path) {
		d, attached, err := s.backend.Attached(id, rec.Capability.ReadOnly())
		if err != nil || attached {
			return d, true, err
		}
	}
	return d, false, errors.Join(err, fmt.Errorf("volume %s is neither staged nor published at %s: %w", id, path, volume.ErrNotFound))
}
