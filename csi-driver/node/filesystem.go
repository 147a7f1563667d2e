package node

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// mountVolume mounts what is on the device, after the repairs that are safe
// without asking, and grows it to the device's size.
func (s *Server) mountVolume(ctx context.Context, d volume.Device, point, fsType string, o mount.Options) error {
	super, err := mount.ReadSuperOf(d.Path)
	if err != nil {
		return err
	}
	if super.FSType == "" || fsType != "" && fsType != super.FSType {
		return precondition("the volume holds %s, fs_type %q cannot be mounted; nothing is ever formatted here: create the volume with that capability",
			orNone(super.FSType), fsType)
	}
	if super.FSType == mount.XFS {
		// A clone has the UUID of what it was cloned from, and may be mounted
		// beside it.
		o = o.With("nouuid")
	}
	if super.Errors {
		if err := check(ctx, d); err != nil {
			return err
		}
	}
	err = mountOnce(d, point, super.FSType, o)
	if mount.Damaged(err) && super.FSType == mount.Ext4 {
		if err := check(ctx, d); err != nil {
			return err
		}
		err = mountOnce(d, point, super.FSType, o)
	}
	if err != nil {
		return explain(err, d, super.FSType)
	}
	if o.ReadOnly() || super.Size >= d.Size {
		return nil
	}
	return s.growStaged(ctx, d, point, super.FSType, o)
}

func mountOnce(d volume.Device, point, fsType string, o mount.Options) error {
	return volume.Effect("csi.stage.mount", func() error { return mount.Device(d.Path, point, fsType, o) })
}

func orNone(fsType string) string {
	if fsType == "" {
		return "no file system of ours"
	}
	return fsType
}

// explain says what a person can do about a mount that failed.
func explain(err error, d volume.Device, fsType string) error {
	tool := "e2fsck -f"
	if fsType == mount.XFS {
		tool = "xfs_repair"
	}
	switch {
	case mount.Damaged(err):
		return fmt.Errorf("%w: the file system is damaged; while the volume is unstaged, repair it with: %s %s", err, tool, d.Source)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the kernel refuses an option or the file system (see dmesg): %w", err, volume.ErrInvalid)
	}
	return err
}

// check lets e2fsck repair what it can repair without asking. Status bits 1
// and 2 are "repaired" (e2fsck(8)).
func check(ctx context.Context, d volume.Device) error {
	out, err := exec.CommandContext(ctx, "e2fsck", "-p", d.Path).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 4 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("e2fsck -p %s: %w: %.300s; while the volume is unstaged, repair it with: e2fsck -f %s", d.Path, err, out, d.Source)
	}
	return nil
}

// growStaged makes a file system that was mounted just now as large as its
// device. An ext4 that this process may not grow online is taken off again
// and grown offline: nobody uses it yet.
func (s *Server) growStaged(ctx context.Context, d volume.Device, point, fsType string, o mount.Options) error {
	err := volume.Effect("csi.stage.grow", func() error { return mount.Grow(point, d.Path, fsType, d.Size) })
	if !errors.Is(err, mount.ErrGrowOffline) {
		return err
	}
	if err := mount.Unmount(point); err != nil {
		return err
	}
	for _, tool := range [][]string{{"e2fsck", "-f", "-p"}, {"resize2fs"}} {
		out, err := exec.CommandContext(ctx, tool[0], append(tool[1:], d.Path)...).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && tool[0] == "e2fsck" && exit.ExitCode() < 4 {
			continue
		}
		if err != nil {
			return fmt.Errorf("grow offline: %v %s: %w: %.300s", tool, d.Path, err, out)
		}
	}
	return mountOnce(d, point, fsType, o)
}
