package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/network"
	"github.com/varve-project/varve/runtime/volume"
)

// stepTimeout bounds one step of a teardown: a daemon that hangs must not keep
// the rest from going.
const stepTimeout = 30 * time.Second

// release takes away what the pod has outside its record: in the kernel, in
// the network, with the CSI driver; with all set also its writable layers
// and scratch folders. Every step is repeatable and is tried whatever became
// of the others. What could not be taken away is returned, one error each;
// the next release tries again.
func (s *Supervisor) release(ctx context.Context, all bool) []error {
	ctx = context.WithoutCancel(ctx)
	var left []error
	step := func(what string, do func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		if err := s.journal.Begin("release", what)(do(ctx)); err != nil {
			left = append(left, fmt.Errorf("%s: %w", what, err))
		}
	}
	if !s.Status().Released {
		step("containers", s.releaseContainers)
		step("network", func(ctx context.Context) error { return s.net.Del(ctx, s.attachment()) })
		step("namespaces", func(context.Context) error { return network.Unpin(s.pins()) })
		step("volumes", s.releaseVolumes)
		step("mounts", s.unmountRest)
		step("cgroups", s.removeCgroups)
	}
	if all {
		step("layers", s.releaseLayers)
		step("scratch folders", func(context.Context) error { return os.RemoveAll(s.paths.EmptyDirs) })
	}
	if len(left) == 0 {
		failpoint.Hit("runtime.rm.state.before")
		step("state folder", s.removeState)
		failpoint.Hit("runtime.rm.state.after")
	}
	return left
}

func (s *Supervisor) releaseContainers(ctx context.Context) error {
	containers := s.rec.Containers()
	errs := make([]error, len(containers))
	var wg sync.WaitGroup
	for i, c := range containers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = errors.Join(s.runtime.Delete(ctx, s.rec.ContainerID(c.Name)), s.unmountRootfs(c.Name))
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Supervisor) releaseVolumes(ctx context.Context) error {
	var errs []error
	for i := range s.rec.Pod.Spec.Volumes {
		v := &s.rec.Pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			errs = append(errs, s.volumes.Unpublish(ctx, s.claim(v.PersistentVolumeClaim), s.rec.UID, s.paths.Volume(v.Name)))
		case v.EmptyDir != nil && v.EmptyDir.Medium != "":
			errs = append(errs, volume.RemoveEmptyDir(s.paths.Volume(v.Name)))
		}
	}
	return errors.Join(errs...)
}

// releaseLayers removes the writable layers: of the run the status names,
// and of its neighbours, since a crash can have come between a layer and its
// status.
func (s *Supervisor) releaseLayers(ctx context.Context) error {
	var errs []error
	for _, c := range s.Status().Containers {
		for attempt := max(c.Attempt-1, 0); attempt <= c.Attempt; attempt++ {
			failpoint.Hit("runtime.rm.layer.before")
			errs = append(errs, s.images.Release(ctx, s.rec.SnapshotKey(c.Name, attempt)))
			failpoint.Hit("runtime.rm.layer.after")
		}
	}
	return errors.Join(errs...)
}

// unmountRest unmounts whatever is still mounted below the pod's state
// folder: its /dev/shm, and what a crash left. A volume that the CSI driver
// could not be asked about is left for it.
func (s *Supervisor) unmountRest(context.Context) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(s.paths.State))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var errs []error
	for i := len(mounts) - 1; i >= 0; i-- {
		path := mounts[i].Mountpoint
		if s.isClaim(path) {
			continue
		}
		failpoint.Hit("runtime.rm.unmount.before")
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		failpoint.Hit("runtime.rm.unmount.after")
		if err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// removeState removes the pod's folder in STATE, never through a mount.
func (s *Supervisor) removeState(context.Context) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(s.paths.State))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted", mounts[0].Mountpoint)
	}
	return os.RemoveAll(s.paths.State)
}

func (s *Supervisor) isClaim(path string) bool {
	name, ok := strings.CutPrefix(path, s.paths.Volume("")+"/")
	return ok && s.volume(name).PersistentVolumeClaim != nil
}

// removeCgroups removes the pod's own cgroup in every hierarchy; those of
// the containers went with them.
func (s *Supervisor) removeCgroups(context.Context) error {
	var errs []error
	for _, root := range cgroupRoots() {
		group := filepath.Join(root, s.rec.CgroupPath())
		for _, c := range s.rec.Containers() {
			errs = append(errs, removeCgroup(filepath.Join(group, c.Name)))
		}
		errs = append(errs, removeCgroup(group))
	}
	return errors.Join(errs...)
}

func removeCgroup(path string) error {
	failpoint.Hit("runtime.rm.cgroup.before")
	defer failpoint.Hit("runtime.rm.cgroup.after")
	for try := 0; ; try++ {
		err := unix.Rmdir(path)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, unix.EBUSY) && try < 50:
			// A killed process leaves its cgroup a moment after its end.
			time.Sleep(10 * time.Millisecond)
		default:
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
	}
}

// cgroupRoots are the mounted hierarchies: one on cgroup v2, else one per
// controller.
func cgroupRoots() []string {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil
	}
	var roots []string
	for _, m := range mounts {
		if strings.HasPrefix(m.Mountpoint, "/sys/fs/cgroup") {
			roots = append(roots, m.Mountpoint)
		}
	}
	return roots
}

// RemoveCgroupParent removes the cgroup of all pods of a Root, where it is
// empty.
func RemoveCgroupParent(cfg config.Config) {
	for _, root := range cgroupRoots() {
		_ = unix.Rmdir(filepath.Join(root, cfg.CgroupParent())) // fails while there are pods
	}
}
