package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// NodeStageVolume implements csi.NodeServer: it attaches the volume and, unless
// it is a raw device, mounts it on the staging path.
func (s *Server) NodeStageVolume(ctx context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	want, err := s.parseStage(r)
	if err != nil {
		return nil, volume.Status(err)
	}
	release, err := s.locks.Exclusive("volume " + want.VolumeID)
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	if err := s.stage(ctx, want); err != nil {
		return nil, volume.Status(err)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (s *Server) parseStage(r *csi.NodeStageVolumeRequest) (record, error) {
	if err := errors.Join(requiredID(r.GetVolumeId()), requiredPath("staging_target_path", r.GetStagingTargetPath())); err != nil {
		return record{}, err
	}
	capability, err := parse(r.GetVolumeCapability())
	if err != nil {
		return record{}, err
	}
	if _, err := s.backend.Volume(r.GetVolumeId()); err != nil {
		return record{}, err
	}
	err = checkContexts(r.GetPublishContext(), r.GetSecrets(), r.GetVolumeContext())
	return record{VolumeID: r.GetVolumeId(), Staging: clean(r.GetStagingTargetPath()), Capability: capability}, err
}

func (s *Server) stage(ctx context.Context, want record) error {
	have, staged, err := s.records.load(want.VolumeID)
	if err != nil {
		return err
	}
	if staged {
		if err := sameStage(have, want); err != nil {
			return err
		}
		if have.Phase == ending {
			return precondition("volume %s is being unstaged: finish NodeUnstageVolume first", want.VolumeID)
		}
		want = have
	}
	if want.Phase != ready {
		want.Phase = beginning
		err := volume.Effect("csi.stage.record", func() error { return s.records.save(want) })
		if err != nil {
			return err
		}
	}
	// Also for a record that says ready: the kernel knows better.
	if err := s.raise(ctx, want); err != nil {
		err = fmt.Errorf("stage volume %s on %s: %w", want.VolumeID, want.Staging, err)
		if want.Phase == ready {
			return err
		}
		return errors.Join(err, s.unstage(context.WithoutCancel(ctx), want))
	}
	if want.Phase == ready {
		return nil
	}
	want.Phase = ready
	return volume.Effect("csi.stage.done", func() error { return s.records.save(want) })
}

func sameStage(have, want record) error {
	if have.Staging != want.Staging {
		return precondition("volume %s is staged on %s: unstage it there first", want.VolumeID, have.Staging)
	}
	if !want.Capability.Same(have.Capability) {
		return status.Errorf(codes.AlreadyExists, "volume %s is staged on %s as %s, asked for %s: unstage it first",
			want.VolumeID, have.Staging, have.Capability, want.Capability)
	}
	return nil
}

// raise makes device and mount what the record wants, each step only where it
// is not so yet.
func (s *Server) raise(ctx context.Context, r record) error {
	c := r.Capability
	d, err := s.backend.Attach(ctx, r.VolumeID, c.Block && c.ReadOnly())
	if err != nil || c.Block {
		return err
	}
	if err := directory("staging_target_path", r.Staging); err != nil {
		return err
	}
	at, err := mount.At(r.Staging)
	if err != nil {
		return err
	}
	if n := len(at); n > 0 {
		if at[n-1].Device != d.Number {
			return precondition("%s is a mount of something else: unmount it", r.Staging)
		}
		return nil
	}
	options, err := c.MountOptions()
	if err != nil {
		return err
	}
	return s.mountVolume(ctx, d, r.Staging, c.FSType, options)
}

// NodeUnstageVolume implements csi.NodeServer. It returns without error only
// when mount and device are gone.
func (s *Server) NodeUnstageVolume(ctx context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := errors.Join(requiredID(r.GetVolumeId()), requiredPath("staging_target_path", r.GetStagingTargetPath())); err != nil {
		return nil, volume.Status(err)
	}
	release, err := s.locks.Exclusive("volume " + r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	rec, staged, err := s.records.load(r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	if !staged {
		// Nothing is known of it; what may be there nevertheless goes too.
		rec = record{VolumeID: r.GetVolumeId(), Staging: clean(r.GetStagingTargetPath())}
	} else if rec.Staging != clean(r.GetStagingTargetPath()) {
		return &csi.NodeUnstageVolumeResponse{}, nil // it is not staged there
	}
	if err := s.unstage(ctx, rec); err != nil {
		return nil, volume.Status(fmt.Errorf("unstage volume %s: %w", rec.VolumeID, err))
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// unstage takes mount, devices and record away.
func (s *Server) unstage(ctx context.Context, r record) error {
	if paths := r.paths(); len(paths) > 0 {
		return precondition("volume %s is still published at %q: unpublish it there first", r.VolumeID, paths)
	}
	if volume.ValidID(r.VolumeID) != nil {
		return nil // no volume of ours, so nothing of it can be staged
	}
	if r.Phase != "" {
		r.Phase = ending
		err := volume.Effect("csi.unstage.record", func() error { return s.records.save(r) })
		if err != nil {
			return err
		}
	}
	if err := s.unmountAll(r.VolumeID, r.Staging); err != nil {
		return err
	}
	for _, readOnly := range []bool{false, true} {
		if err := s.backend.Detach(ctx, r.VolumeID, readOnly); err != nil {
			return fmt.Errorf("%w%s", err, holders(r.VolumeID, s.backend))
		}
	}
	return volume.Effect("csi.unstage.done", func() error { return s.records.remove(r.VolumeID) })
}
