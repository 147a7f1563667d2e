package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// NodePublishVolume implements csi.NodeServer: it makes a staged volume appear
// at the target path, as a folder or as a device node.
func (s *Server) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	capability, err := s.parsePublish(r)
	if err != nil {
		return nil, volume.Status(err)
	}
	release, err := s.locks.Exclusive("volume " + r.GetVolumeId())
	if err != nil {
		return nil, volume.Status(err)
	}
	defer release()
	path := clean(r.GetTargetPath())
	want := target{ReadOnly: r.GetReadonly() || capability.ReadOnly()}
	rec, err := s.checkPublish(r, capability, path, want)
	if err == nil {
		err = s.publish(ctx, rec, path, want)
	}
	if err != nil {
		return nil, volume.Status(err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (s *Server) parsePublish(r *csi.NodePublishVolumeRequest) (volume.Capability, error) {
	if err := errors.Join(requiredID(r.GetVolumeId()), requiredPath("target_path", r.GetTargetPath())); err != nil {
		return volume.Capability{}, err
	}
	capability, err := parse(r.GetVolumeCapability())
	if err != nil {
		return capability, err
	}
	if _, err := s.backend.Volume(r.GetVolumeId()); err != nil {
		return capability, err
	}
	if r.GetStagingTargetPath() == "" {
		return capability, precondition("staging_target_path: is required, call NodeStageVolume first")
	}
	return capability, checkContexts(r.GetPublishContext(), r.GetSecrets(), r.GetVolumeContext())
}

// checkPublish compares the request with how the volume is staged and where it
// is published already.
func (s *Server) checkPublish(r *csi.NodePublishVolumeRequest, c volume.Capability, path string, want target) (record, error) {
	rec, staged, err := s.records.load(r.GetVolumeId())
	if err != nil {
		return rec, err
	}
	switch {
	case !staged || rec.Phase != ready:
		return rec, precondition("volume %s is not staged: call NodeStageVolume first", r.GetVolumeId())
	case rec.Staging != clean(r.GetStagingTargetPath()):
		return rec, precondition("volume %s is staged on %s, not on %s", rec.VolumeID, rec.Staging, r.GetStagingTargetPath())
	}
	have, published := rec.Targets[path]
	if published && (have.ReadOnly != want.ReadOnly || !c.Same(rec.Capability)) {
		return rec, status.Errorf(codes.AlreadyExists, "volume %s is published at %s as %s (read-only %t), asked for %s (read-only %t): unpublish it first",
			rec.VolumeID, path, rec.Capability, have.ReadOnly, c, want.ReadOnly)
	}
	if !c.Same(rec.Capability) {
		return rec, precondition("volume %s is staged as %s, asked for %s: unstage it first", rec.VolumeID, rec.Capability, c)
	}
	if !published && c.OneWorkload() && len(rec.Targets) > 0 {
		return rec, precondition("volume %s is published at %q, and its access mode %s allows one target only: unpublish it there first",
			rec.VolumeID, rec.paths(), c.Mode)
	}
	if published && have.Phase == ending {
		return rec, precondition("volume %s is being unpublished from %s: finish NodeUnpublishVolume first", rec.VolumeID, path)
	}
	return rec, nil
}

func (s *Server) publish(ctx context.Context, rec record, path string, want target) error {
	have, published := rec.Targets[path]
	if !published || have.Phase != ready {
		want.Phase = beginning
		err := volume.Effect("csi.publish.record", func() error { return s.records.save(rec.with(path, want)) })
		if err != nil {
			return err
		}
	}
	// Also for a target that is ready: the kernel knows better.
	if err := s.expose(ctx, rec, path, want); err != nil {
		err = fmt.Errorf("publish volume %s at %s: %w", rec.VolumeID, path, err)
		if published && have.Phase == ready {
			return err
		}
		return errors.Join(err, s.unpublish(context.WithoutCancel(ctx), rec.with(path, want), path))
	}
	if published && have.Phase == ready {
		return nil
	}
	want.Phase = ready
	return volume.Effect("csi.publish.done", func() error { return s.records.save(rec.with(path, want)) })
}

// with returns the record with one target changed.
func (r record) with(path string, t target) record {
	targets := map[string]target{path: t}
	for p, other := range r.Targets {
		if p != path {
			targets[p] = other
		}
	}
	r.Targets = targets
	return r
}

// without returns the record less one target.
func (r record) without(path string) record {
	r = r.with(path, target{})
	delete(r.Targets, path)
	return r
}

// expose binds staging path or device node at the target, unless it is there.
func (s *Server) expose(ctx context.Context, rec record, path string, t target) error {
	d, err := s.backend.Attach(ctx, rec.VolumeID, rec.readOnlyDevice(t))
	if err != nil {
		return err
	}
	from := rec.Staging
	if rec.Capability.Block {
		from = d.Path
	} else if at, err := mount.At(rec.Staging); err != nil {
		return err
	} else if n := len(at); n == 0 || at[n-1].Device != d.Number {
		return precondition("%s is not mounted any more: stage the volume again", rec.Staging)
	}
	err = volume.Effect("csi.publish.target", func() error { return makeTarget(path, rec.Capability.Block) })
	if err != nil {
		return err
	}
	there, err := shows(path, d)
	if err != nil || there {
		return err
	}
	readOnly := t.ReadOnly && !rec.Capability.Block
	return volume.Effect("csi.publish.bind", func() error { return mount.Bind(from, path, readOnly) })
}

// shows tells whether the device, or its file system, is what path has on it.
// Another mount there is an error.
func shows(path string, d volume.Device) (bool, error) {
	at, err := mount.At(path)
	if err != nil || len(at) == 0 {
		return false, err
	}
	ours, err := carries(path, at[len(at)-1], d.Number)
	if err == nil && !ours {
		err = precondition("%s is a mount of something else: unmount it", path)
	}
	return ours, err
}

// makeTarget makes the folder or file that the volume is bound on.
func makeTarget(path string, block bool) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && block == info.IsDir() || err == nil && info.Mode()&os.ModeSymlink != 0:
		return precondition("target_path %s: is there, as %s", path, info.Mode().Type())
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	case !block:
		return os.Mkdir(path, 0o750)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}
