package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/runtime/volume"
)

// makeRootfs brings a container's image and mounts a fresh writable layer
// over it. It may be repeated for the same run.
func (s *Supervisor) makeRootfs(ctx context.Context, c *corev1.Container, attempt int) (image.Image, error) {
	found := s.journal.Begin("image", c.Name)
	img, err := s.image(ctx, c)
	if found(err) != nil {
		return img, err
	}
	end := s.journal.Begin("rootfs", c.Name)
	return img, end(s.mountRootfs(ctx, c, attempt, img))
}

func (s *Supervisor) mountRootfs(ctx context.Context, c *corev1.Container, attempt int, img image.Image) error {
	target := s.paths.Rootfs(c.Name)
	if err := os.MkdirAll(target, 0o700); err != nil {
		return fmt.Errorf("container %q: %w", c.Name, err)
	}
	if volume.IsMount(target) {
		return nil
	}
	failpoint.Hit("runtime.run.prepare.before")
	mounts, err := s.images.Prepare(ctx, s.rec.SnapshotKey(c.Name, attempt), img, image.PrepareOptions{})
	failpoint.Hit("runtime.run.prepare.after")
	if err != nil {
		return fmt.Errorf("container %q: %w", c.Name, err)
	}
	failpoint.Hit("runtime.run.mount-rootfs.before")
	err = mount.All(mounts, target)
	failpoint.Hit("runtime.run.mount-rootfs.after")
	if err != nil {
		return fmt.Errorf("container %q: mount its root at %s: %w", c.Name, target, err)
	}
	return nil
}

// image finds a container's image by its pull policy.
func (s *Supervisor) image(ctx context.Context, c *corev1.Container) (image.Image, error) {
	if c.ImagePullPolicy == corev1.PullAlways {
		img, err := s.images.Pull(ctx, c.Image, image.PullOptions{})
		if err != nil {
			return img, fmt.Errorf("container %q: %w", c.Name, err)
		}
		return img, nil
	}
	img, err := s.images.Get(ctx, c.Image)
	if errors.Is(err, errdefs.ErrNotFound) {
		if c.ImagePullPolicy == corev1.PullNever {
			return img, fmt.Errorf("container %q: imagePullPolicy is Never, and %w", c.Name, err)
		}
		img, err = s.images.Pull(ctx, c.Image, image.PullOptions{})
	}
	if err != nil {
		return img, fmt.Errorf("container %q: %w", c.Name, err)
	}
	return img, nil
}

// unmountRootfs takes a container's root away. It may be repeated.
func (s *Supervisor) unmountRootfs(container string) error {
	target := s.paths.Rootfs(container)
	for volume.IsMount(target) {
		failpoint.Hit("runtime.rm.unmount-rootfs.before")
		err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			// A process of another mount namespace looks into it; it goes
			// when that one does.
			err = unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		failpoint.Hit("runtime.rm.unmount-rootfs.after")
		if err != nil {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
	return nil
}
