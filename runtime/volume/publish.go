package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/pod"
)

// Publish brings a volume to target: a mounted folder, or for a block volume
// a device file. It may be repeated. uid is the pod's; the volume stays
// staged until the last pod has called Unpublish.
func (s *Store) Publish(ctx context.Context, k pod.Key, uid, target string, readOnly bool) (_ *Volume, err error) {
	l, err := s.lock(ctx, "volume", k)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Release()) }()
	v, err := s.Get(k)
	if err != nil {
		return nil, fmt.Errorf("%w; a PersistentVolumeClaim in the manifest or `varve volume create` makes it", err)
	}
	if v.State != Ready {
		return nil, fmt.Errorf("volume %s is still %s", k, v.State)
	}
	if err := s.checkExclusive(v, uid); err != nil {
		return nil, err
	}
	d, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.addUser(k, uid, target); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.stagePath(k), filepath.Dir(target)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("volume %s: %w", k, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	attached, err := s.attach(ctx, d, v, readOnly)
	if err != nil {
		return nil, err
	}
	stage := ""
	if d.nod[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		stage = s.stagePath(k)
		failpoint.Hit("runtime.run.csi-stage.before")
		_, err := d.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
			VolumeId: v.ID, PublishContext: attached, StagingTargetPath: stage,
			VolumeCapability: v.Request.capability(), VolumeContext: v.Context,
		})
		failpoint.Hit("runtime.run.csi-stage.after")
		if err != nil {
			return nil, fmt.Errorf("stage volume %s: %w", k, err)
		}
	}
	failpoint.Hit("runtime.run.csi-publish.before")
	_, err = d.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: v.ID, PublishContext: attached, StagingTargetPath: stage, TargetPath: target,
		VolumeCapability: v.Request.capability(), Readonly: readOnly, VolumeContext: v.Context,
	})
	failpoint.Hit("runtime.run.csi-publish.after")
	if err == nil {
		err = v.checkPublished(target)
	}
	if err != nil {
		return nil, fmt.Errorf("publish volume %s: %w", k, err)
	}
	return v, nil
}

// checkPublished sees for itself that the volume is at target. A driver that
// lives in another mount namespace publishes with success where we cannot see
// it, and the pod would write into the bare folder below.
func (v *Volume) checkPublished(target string) error {
	if v.Request.Block {
		info, err := os.Stat(target)
		if err == nil && info.Mode().Type() != fs.ModeDevice {
			err = fmt.Errorf("%s is no block device", target)
		}
		return elsewhere(err)
	}
	mounted, err := mountinfo.Mounted(target)
	if err == nil && !mounted {
		err = fmt.Errorf("nothing is mounted at %s", target)
	}
	return elsewhere(err)
}

func elsewhere(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the CSI driver says that it is done, but %w; does it run in another mount namespace? Start it in this one (`varve down`, `varve up`)", err)
}

// checkExclusive refuses a second pod on a ReadWriteOncePod volume.
func (s *Store) checkExclusive(v *Volume, uid string) error {
	if len(v.Request.AccessModes) != 1 || v.Request.AccessModes[0] != "ReadWriteOncePod" {
		return nil
	}
	users, err := s.users(v.Key)
	for _, u := range users {
		if u != uid {
			err = errors.Join(err, fmt.Errorf("volume %s: %w by pod %s, and it is ReadWriteOncePod", v.Key, ErrInUse, u))
		}
	}
	return err
}

// attach tells the controller where the volume is wanted, for a driver that
// needs to know.
func (s *Store) attach(ctx context.Context, d *driver, v *Volume, readOnly bool) (map[string]string, error) {
	if !d.ctl[csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME] {
		return nil, nil
	}
	res, err := d.controller.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: v.ID, NodeId: d.nodeID, VolumeCapability: v.Request.capability(),
		Readonly: readOnly, VolumeContext: v.Context,
	})
	if err != nil {
		return nil, fmt.Errorf("attach volume %s to node %s: %w", v.Key, d.nodeID, err)
	}
	return res.GetPublishContext(), nil
}

// Unpublish takes a volume away from target and unstages it after its last
// pod. It may be repeated; a volume that is gone is no error.
func (s *Store) Unpublish(ctx context.Context, k pod.Key, uid, target string) (err error) {
	l, err := s.lock(ctx, "volume", k)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Release()) }()
	if _, err := os.Lstat(s.userPath(k, uid)); errors.Is(err, fs.ErrNotExist) {
		return nil // never published, or unpublished already
	}
	v, err := s.Get(k)
	if errors.Is(err, ErrNotFound) {
		return s.removeUser(k, uid)
	}
	if err != nil {
		return err
	}
	d, err := s.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	failpoint.Hit("runtime.rm.csi-unpublish.before")
	_, err = d.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.ID, TargetPath: target})
	failpoint.Hit("runtime.rm.csi-unpublish.after")
	if err != nil && status.Code(err) != codes.NotFound {
		return fmt.Errorf("unpublish volume %s: %w", k, err)
	}
	users, err := s.users(k)
	if err != nil {
		return err
	}
	if len(users) == 1 {
		if err := s.unstage(ctx, d, v); err != nil {
			return err
		}
	}
	return s.removeUser(k, uid)
}

func (s *Store) unstage(ctx context.Context, d *driver, v *Volume) error {
	if d.nod[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		failpoint.Hit("runtime.rm.csi-unstage.before")
		_, err := d.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{
			VolumeId: v.ID, StagingTargetPath: s.stagePath(v.Key),
		})
		failpoint.Hit("runtime.rm.csi-unstage.after")
		if err != nil && status.Code(err) != codes.NotFound {
			return fmt.Errorf("unstage volume %s: %w", v.Key, err)
		}
	}
	if d.ctl[csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME] {
		_, err := d.controller.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{
			VolumeId: v.ID, NodeId: d.nodeID,
		})
		if err != nil && status.Code(err) != codes.NotFound {
			return fmt.Errorf("detach volume %s from node %s: %w", v.Key, d.nodeID, err)
		}
	}
	return nil
}

func (s *Store) stagePath(k pod.Key) string { return filepath.Join(s.stateDir(k), "stage") }
func (s *Store) usersDir(k pod.Key) string  { return filepath.Join(s.stateDir(k), "users") }
func (s *Store) userPath(k pod.Key, uid string) string {
	return filepath.Join(s.usersDir(k), uid)
}

// addUser notes for whom a volume is published, and where.
func (s *Store) addUser(k pod.Key, uid, target string) error {
	if err := os.MkdirAll(s.usersDir(k), 0o700); err != nil {
		return fmt.Errorf("volume %s: %w", k, err)
	}
	if err := os.WriteFile(s.userPath(k, uid), []byte(target), 0o600); err != nil {
		return fmt.Errorf("volume %s: %w", k, err)
	}
	return nil
}

// removeUser forgets a user, and with the last one the folder.
func (s *Store) removeUser(k pod.Key, uid string) error {
	if err := os.Remove(s.userPath(k, uid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("volume %s: %w", k, err)
	}
	for _, dir := range []string{s.usersDir(k), s.stagePath(k), s.stateDir(k)} {
		_ = os.Remove(dir) // only when empty; another pod's is not
	}
	return nil
}

// Users are the UIDs of the pods that use a volume.
func (s *Store) Users(k pod.Key) ([]string, error) { return s.users(k) }

// users are the UIDs of the pods that the volume is published for.
func (s *Store) users(k pod.Key) ([]string, error) {
	entries, err := os.ReadDir(s.usersDir(k))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("volume %s: %w", k, err)
	}
	var users []string
	for _, e := range entries {
		users = append(users, e.Name())
	}
	return users, nil
}
