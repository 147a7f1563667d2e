package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/flock"
	"github.com/varve-project/varve/runtime/pod"
)

// lock holds one volume or snapshot against other commands. Its file is in
// STATE and stays until a reboot.
func (s *Store) lock(ctx context.Context, kind string, k pod.Key) (*flock.Lock, error) {
	dir := filepath.Join(s.cfg.RuntimeState(), "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, k, err)
	}
	l, err := flock.AcquireContext(ctx, filepath.Join(dir, kind+"_"+k.FileName()+".lock"))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, k, err)
	}
	return l, nil
}

// Create makes the volume of a claim. A claim that exists with the same
// Request is no error, and one that a crash left half made is finished; with
// another Request the error wraps ErrExists.
func (s *Store) Create(ctx context.Context, k pod.Key, r Request) (_ *Volume, err error) {
	l, err := s.lock(ctx, "volume", k)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Release()) }()
	v, err := s.Get(k)
	switch {
	case err == nil && v.State == Deleting:
		return nil, fmt.Errorf("volume %s is being deleted; `varve volume rm %s` finishes that", k, k)
	case err == nil && !reflect.DeepEqual(v.Request, r):
		return nil, fmt.Errorf("volume %s: %w, and was made otherwise: it has %+v, asked for %+v", k, ErrExists, v.Request, r)
	case err == nil && v.State == Ready:
		return v, nil
	case errors.Is(err, ErrNotFound):
		v = &Volume{Key: k, Handle: "varve-" + uuid.NewString(), State: Creating, Created: time.Now().UTC(), Request: r}
	case err != nil:
		return nil, err
	}
	req, err := s.createRequest(ctx, v)
	if err != nil {
		return nil, err
	}
	d, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	failpoint.Hit("runtime.volume-create.record.before")
	if err := put(s.volumesDir(), k, v); err != nil {
		return nil, err
	}
	failpoint.Hit("runtime.volume-create.record.after")
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	failpoint.Hit("runtime.volume-create.csi.before")
	res, err := d.controller.CreateVolume(ctx, req)
	failpoint.Hit("runtime.volume-create.csi.after")
	if err != nil {
		return nil, s.createFailed(v, err)
	}
	v.ID, v.Capacity, v.Context = res.GetVolume().GetVolumeId(), res.GetVolume().GetCapacityBytes(), res.GetVolume().GetVolumeContext()
	v.State = Ready
	return v, put(s.volumesDir(), k, v)
}

// createFailed forgets a volume that the driver surely did not make. After
// any other error it may have been made, and the record stays for the next
// try or for rm.
func (s *Store) createFailed(v *Volume, err error) error {
	failed := fmt.Errorf("create volume %s: %w", v.Key, err)
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.ResourceExhausted, codes.NotFound, codes.Unimplemented, codes.AlreadyExists:
		return errors.Join(failed, atomicfile.Remove(recordPath(s.volumesDir(), v.Key)))
	}
	return failed
}

func (s *Store) createRequest(ctx context.Context, v *Volume) (*csi.CreateVolumeRequest, error) {
	d, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.needs(csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME, "make volumes"); err != nil {
		return nil, err
	}
	req := &csi.CreateVolumeRequest{
		Name:               v.Handle,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: v.Request.Bytes, LimitBytes: v.Request.Limit},
		VolumeCapabilities: []*csi.VolumeCapability{v.Request.capability()},
		Parameters:         v.Request.Parameters,
	}
	if d.topologies && d.topology != nil {
		req.AccessibilityRequirements = &csi.TopologyRequirement{
			Requisite: []*csi.Topology{d.topology}, Preferred: []*csi.Topology{d.topology},
		}
	}
	req.VolumeContentSource, err = s.source(v, d)
	return req, err
}

// source finds what a new volume is filled from.
func (s *Store) source(v *Volume, d *driver) (*csi.VolumeContentSource, error) {
	switch {
	case v.Request.Snapshot != "":
		if err := d.needs(csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT, "restore snapshots"); err != nil {
			return nil, err
		}
		snap, err := s.GetSnapshot(pod.Key{Namespace: v.Namespace, Name: v.Request.Snapshot})
		if err != nil {
			return nil, fmt.Errorf("volume %s: its source: %w", v.Key, err)
		}
		if snap.State != Ready {
			return nil, fmt.Errorf("volume %s: its source, snapshot %s, is still %s", v.Key, snap.Key, snap.State)
		}
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snap.ID},
		}}, nil
	case v.Request.Volume != "":
		if err := d.needs(csi.ControllerServiceCapability_RPC_CLONE_VOLUME, "clone volumes"); err != nil {
			return nil, err
		}
		from, err := s.Get(pod.Key{Namespace: v.Namespace, Name: v.Request.Volume})
		if err != nil {
			return nil, fmt.Errorf("volume %s: its source: %w", v.Key, err)
		}
		if from.State != Ready {
			return nil, fmt.Errorf("volume %s: its source, volume %s, is still %s", v.Key, from.Key, from.State)
		}
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: from.ID},
		}}, nil
	}
	return nil, nil
}

// Remove deletes a volume with its data. Removing what is absent is
// ErrNotFound, one that a pod uses ErrInUse; a removal that a crash cut short
// goes on.
func (s *Store) Remove(ctx context.Context, k pod.Key) (err error) {
	l, err := s.lock(ctx, "volume", k)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Release()) }()
	v, err := s.Get(k)
	if err != nil {
		return err
	}
	users, err := s.users(k)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return fmt.Errorf("volume %s: %w by pod %v; remove the pod first", k, ErrInUse, users)
	}
	d, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if v.ID == "" {
		// A crash came between the driver's answer and the record: asking
		// again for the same name is how CSI tells the id.
		if err := s.findID(ctx, d, v); err != nil {
			return err
		}
	}
	v.State = Deleting
	failpoint.Hit("runtime.volume-rm.record.before")
	if err := put(s.volumesDir(), k, v); err != nil {
		return err
	}
	failpoint.Hit("runtime.volume-rm.record.after")
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if v.ID != "" {
		failpoint.Hit("runtime.volume-rm.csi.before")
		if _, err := d.controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.ID}); err != nil {
			return fmt.Errorf("delete volume %s: %w", k, err)
		}
		failpoint.Hit("runtime.volume-rm.csi.after")
	}
	if err := os.RemoveAll(s.stateDir(k)); err != nil {
		return fmt.Errorf("delete volume %s: %w", k, err)
	}
	return atomicfile.Remove(recordPath(s.volumesDir(), k))
}

func (s *Store) findID(ctx context.Context, d *driver, v *Volume) error {
	req, err := s.createRequest(ctx, v)
	if errors.Is(err, ErrNotFound) {
		return nil // its source is gone: it was never made
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := d.controller.CreateVolume(ctx, req)
	switch status.Code(err) {
	case codes.OK:
		v.ID = res.GetVolume().GetVolumeId()
		return nil
	case codes.InvalidArgument, codes.OutOfRange, codes.ResourceExhausted, codes.NotFound, codes.Unimplemented:
		return nil
	}
	return fmt.Errorf("find out whether volume %s was made: %w", v.Key, err)
}
