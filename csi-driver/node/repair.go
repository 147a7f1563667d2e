package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-project/varve/csi-driver/volume"
)

// repair brings records, mounts and devices together after a crash or a
// reboot. What nobody was told about is undone; what was being taken away is
// taken away.
func (s *Server) repair(ctx context.Context) (warnings []error, err error) {
	ids, err := s.records.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		r, ofThisBoot, err := s.records.load(id)
		if err != nil {
			return nil, fmt.Errorf("%w; remove the file once nothing of the volume is mounted", err)
		}
		if !ofThisBoot {
			if err := s.records.remove(id); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.repairRecord(ctx, r); err != nil {
			warnings = append(warnings, err)
		}
	}
	return append(warnings, s.detachUnknown(ctx)...), nil
}

func (s *Server) repairRecord(ctx context.Context, r record) error {
	for _, path := range r.paths() {
		if r.Targets[path].Phase == ready {
			continue
		}
		if err := s.unpublish(ctx, r, path); err != nil {
			return fmt.Errorf("give back volume %s at %s: %w", r.VolumeID, path, err)
		}
		r = r.without(path)
	}
	if r.Phase == ready {
		return nil
	}
	if err := s.unstage(ctx, r); err != nil {
		return fmt.Errorf("give back volume %s: %w", r.VolumeID, err)
	}
	return nil
}

// detachUnknown gives back devices of volumes that are not staged.
func (s *Server) detachUnknown(ctx context.Context) (warnings []error) {
	for _, v := range s.backend.Volumes() {
		if _, staged, err := s.records.load(v.ID); err != nil || staged {
			continue
		}
		for _, readOnly := range []bool{false, true} {
			d, attached, err := s.backend.Attached(v.ID, readOnly)
			if err == nil && attached {
				err = s.backend.Detach(ctx, v.ID, readOnly)
			}
			if errors.Is(err, volume.ErrInUse) {
				err = fmt.Errorf("volume %s is in use as %s, but not staged: %w", v.ID, d.Path, err)
			}
			if err != nil {
				warnings = append(warnings, err)
			}
		}
	}
	return warnings
}
