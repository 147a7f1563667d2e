package oci

import (
	"context"
	"fmt"
	"path"

	"github.com/containerd/containerd/v2/core/containers"
	ctrdoci "github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices shows the container its raw block volumes and lets its cgroup use
// them.
func (c Container) devices(_ context.Context, _ ctrdoci.Client, _ *containers.Container, s *specs.Spec) error {
	for _, d := range c.Devices {
		var st unix.Stat_t
		if err := unix.Stat(d.Source, &st); err != nil {
			return fmt.Errorf("device %s: %s: %w", d.Destination, d.Source, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return fmt.Errorf("device %s: %s is no block device", d.Destination, d.Source)
		}
		major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		access := "rwm"
		if d.ReadOnly {
			access = "rm"
		}
		s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{
			Path: path.Clean(d.Destination), Type: "b", Major: major, Minor: minor,
		})
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: "b", Major: &major, Minor: &minor, Access: access,
		})
	}
	return nil
}
