package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// NodeUnpublishVolume implements csi.NodeServer. It returns without error only
// when nothing of the volume is at the target any more.
func (s *Server) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := errors.Join(requiredID(r.GetVolumeId()), requiredPath("target_path", r.GetTargetPath())); err != nil {
		return nil, volume.Status(err)
	}
	release, err := s.locks.Exclusive("volume " + r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	path := clean(r.GetTargetPath())
	rec, staged, err := s.records.load(r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	if _, published := rec.Targets[path]; staged && published {
		err = s.unpublish(ctx, rec, path)
	} else {
		err = s.unpublishUnknown(r.GetVolumeId(), path)
	}
	if err != nil {
		return nil, volume.Status(fmt.Errorf("unpublish volume %s from %s: %w", r.GetVolumeId(), path, err))
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// unpublish takes the mount, the target and its entry in the record away.
func (s *Server) unpublish(ctx context.Context, rec record, path string) error {
	t := rec.Targets[path]
	t.Phase = ending
	rec = rec.with(path, t)
	err := volume.Effect("csi.unpublish.record", func() error { return s.records.save(rec) })
	if err != nil {
		return err
	}
	if err := s.unmountAll(rec.VolumeID, path); err != nil {
		return err
	}
	if err := removeTarget(path); err != nil {
		return err
	}
	rec = rec.without(path)
	if rec.readOnlyDevice(t) && !rec.Capability.ReadOnly() && !rec.anyReadOnly() {
		if err := s.backend.Detach(ctx, rec.VolumeID, true); err != nil {
			return fmt.Errorf("%w%s", err, holders(rec.VolumeID, s.backend))
		}
	}
	return volume.Effect("csi.unpublish.done", func() error { return s.records.save(rec) })
}

func (r record) anyReadOnly() bool {
	for _, t := range r.Targets {
		if t.ReadOnly {
			return true
		}
	}
	return false
}

// unpublishUnknown serves a target without a record: of a finished call that
// is repeated, or one whose volume and record are gone.
func (s *Server) unpublishUnknown(id, path string) error {
	at, err := mount.At(path)
	if err != nil || len(at) == 0 {
		return err
	}
	if _, err := s.backend.Volume(id); err != nil {
		return fmt.Errorf("something is mounted there, and %w", err)
	}
	if err := s.unmountAll(id, path); err != nil {
		return err
	}
	return removeTarget(path)
}

// removeTarget deletes what makeTarget made. A folder with content is not ours
// to delete.
func removeTarget(path string) error {
	return volume.Effect("csi.unpublish.target", func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return precondition("remove target_path: %v", err)
		}
		return nil
	})
}

// unmountAll takes every mount of the volume off path, however often it was
// bound there. A mount of something else is left alone, and is an error.
func (s *Server) unmountAll(id, path string) error {
	for {
		at, err := mount.At(path)
		if err != nil || len(at) == 0 {
			return err
		}
		ours, err := s.mountOf(id, path, at[len(at)-1])
		if err != nil {
			return err
		}
		if !ours {
			return precondition("%s is a mount of something else: unmount it", path)
		}
		err = volume.Effect("csi.unmount", func() error { return mount.Unmount(path) })
		if errors.Is(err, mount.ErrBusy) {
			return fmt.Errorf("%w: %w%s", err, volume.ErrInUse, holders(id, s.backend))
		}
		if err != nil {
			return err
		}
	}
}

// mountOf tells whether a mount on path shows one of the volume's devices.
func (s *Server) mountOf(id, path string, top mount.Entry) (bool, error) {
	for _, readOnly := range []bool{false, true} {
		d, attached, err := s.backend.Attached(id, readOnly)
		if err != nil {
			return false, err
		}
		if !attached {
			continue
		}
		if ours, err := carries(path, top, d.Number); err != nil || ours {
			return ours, err
		}
	}
	return false, nil
}
