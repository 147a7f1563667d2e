package volume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/pod"
)

// TakeSnapshot takes a snapshot of a volume, which may be in use, and waits
// until it can be restored. One of that name of the same volume is no error,
// and one that a crash left half made is finished.
func (s *Store) TakeSnapshot(ctx context.Context, volume, name pod.Key) (_ *Snapshot, err error) {
	l, err := s.lock(ctx, "snapshot", name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Release()) }()
	if volume.Namespace != name.Namespace {
		return nil, fmt.Errorf("snapshot %s of volume %s: both must be in one namespace", name, volume)
	}
	v, err := s.Get(volume)
	if err != nil {
		return nil, err
	}
	if v.State != Ready {
		return nil, fmt.Errorf("volume %s is still %s", volume, v.State)
	}
	snap, err := s.GetSnapshot(name)
	switch {
	case err == nil && snap.VolumeID != v.ID:
		return nil, fmt.Errorf("snapshot %s: %w, of volume %s", name, ErrExists, snap.Volume)
	case err == nil && snap.State == Deleting:
		return nil, fmt.Errorf("snapshot %s is being deleted; `varve volume rm --snapshot %s` finishes that", name, name)
	case err == nil && snap.State == Ready:
		return snap, nil
	case errors.Is(err, ErrNotFound):
		snap = &Snapshot{
			Key: name, Handle: "varve-" + uuid.NewString(), State: Creating,
			Created: time.Now().UTC(), Volume: v.Name, VolumeID: v.ID,
		}
	case err != nil:
		return nil, err
	}
	d, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.needs(csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT, "take snapshots"); err != nil {
		return nil, err
	}
	failpoint.Hit("runtime.snapshot.record.before")
	if err := put(s.snapshotsDir(), name, snap); err != nil {
		return nil, err
	}
	failpoint.Hit("runtime.snapshot.record.after")
	if err := s.finishSnapshot(ctx, d, snap); err != nil {
		return nil, err
	}
	return snap, put(s.snapshotsDir(), name, snap)
}

// finishSnapshot asks the driver until the snapshot is ready to use: CSI has
// CreateSnapshot repeated while a driver uploads or copies.
func (s *Store) finishSnapshot(ctx context.Context, d *driver, snap *Snapshot) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		failpoint.Hit("runtime.snapshot.csi.before")
		res, err := d.controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{
			SourceVolumeId: snap.VolumeID, Name: snap.Handle,
		})
		failpoint.Hit("runtime.snapshot.csi.after")
		if err != nil {
			return fmt.Errorf("take snapshot %s of volume %s: %w", snap.Key, snap.Volume, err)
		}
		got := res.GetSnapshot()
		snap.ID, snap.Size, snap.Taken = got.GetSnapshotId(), got.GetSizeBytes(), got.GetCreationTime().AsTime()
		if got.GetReadyToUse() {
			snap.State = Ready
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("snapshot %s is taken, but not ready yet: %w; repeat the command", snap.Key, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

// RemoveSnapshot deletes a snapshot. Removing what is absent is ErrNotFound.
func (s *Store) RemoveSnapshot(ctx context.Context, name pod.Key) (err error) {
	l, err := s.lock(ctx, "snapshot", name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Release()) }()
	snap, err := s.GetSnapshot(name)
	if err != nil {
		return err
	}
	d, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if snap.ID == "" {
		// As with a volume: the name tells the id.
		if err := s.finishSnapshot(ctx, d, snap); err != nil {
			return err
		}
	}
	snap.State = Deleting
	if err := put(s.snapshotsDir(), name, snap); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	failpoint.Hit("runtime.snapshot-rm.csi.before")
	_, err = d.controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: snap.ID})
	failpoint.Hit("runtime.snapshot-rm.csi.after")
	if err != nil {
		return fmt.Errorf("delete snapshot %s: %w", name, err)
	}
	return atomicfile.Remove(recordPath(s.snapshotsDir(), name))
}
