package oci

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ctrdoci "github.com/containerd/containerd/v2/pkg/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// Container is everything a spec is made of. All paths are the host's.
type Container struct {
	ID        string
	Pod       *corev1.Pod
	Container *corev1.Container
	Image     ocispec.Image
	// Rootfs is the container's root, mounted: the image's user is looked
	// up in its /etc/passwd, without ever leaving it.
	Rootfs string
	// NetNS, IPCNS and UTSNS are the pod's pinned namespaces.
	NetNS, IPCNS, UTSNS string
	// Shm is the pod's /dev/shm.
	Shm string
	// Files are put over single files of the root: /etc/hosts and such.
	Files []Mount
	// Volumes are the container's volumeMounts.
	Volumes []Mount
	// Devices are the container's volumeDevices.
	Devices []Device
	// CgroupsPath is the container's cgroup below each hierarchy's root.
	CgroupsPath string
}

// Mount binds a file or folder of the host into a container.
type Mount struct {
	Source, Destination string
	ReadOnly            bool
}

// Device shows a block device of the host in a container.
type Device struct {
	Source, Destination string
	ReadOnly            bool
}

// Spec makes the runtime spec. It reads the image's user database and the
// devices' numbers, and changes nothing.
func Spec(ctx context.Context, c Container) (*specs.Spec, error) {
	s := &specs.Spec{}
	opts := []ctrdoci.SpecOpts{
		ctrdoci.WithDefaultSpec(),
		// CRI has no tmpfs on /run: an image may bring files there.
		ctrdoci.WithoutRunMount,
		ctrdoci.WithRootFSPath(c.Rootfs),
		ctrdoci.WithCgroup(c.CgroupsPath),
		c.namespaces,
		c.process,
		c.user,
		c.mounts,
		c.security,
		c.resources,
		c.devices,
	}
	// containerd's options look into Rootfs when the container names no
	// snapshot; they need a namespace in the context and use no client.
	ctx = namespaces.WithNamespace(ctx, "varve")
	err := ctrdoci.ApplyOpts(ctx, nil, &containers.Container{ID: c.ID}, s, opts...)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", c.Container.Name, err)
	}
	return s, nil
}

func (c Container) namespaces(_ context.Context, _ ctrdoci.Client, _ *containers.Container, s *specs.Spec) error {
	s.Linux.Namespaces = []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.IPCNamespace, Path: c.IPCNS},
		{Type: specs.UTSNamespace, Path: c.UTSNS},
		{Type: specs.NetworkNamespace, Path: c.NetNS},
	}
	if unified() {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	// As containerd's CRI has them by default: a process that is not root
	// may listen on port 80 and send pings, in its own network only.
	s.Linux.Sysctl = map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
	return nil
}

func (c Container) mounts(_ context.Context, _ ctrdoci.Client, _ *containers.Container, s *specs.Spec) error {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == "/dev/shm" {
			s.Mounts[i] = specs.Mount{Destination: "/dev/shm", Type: "bind", Source: c.Shm, Options: []string{"rbind", "rw"}}
		}
	}
	// Programs size themselves by the limits they find here.
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
	})
	s.Root.Readonly = isTrue(c.securityContext().ReadOnlyRootFilesystem)
	volumes := append([]Mount(nil), c.Volumes...)
	// A volume below another's mount point must come after it.
	sort.SliceStable(volumes, func(i, j int) bool {
		return depth(volumes[i].Destination) < depth(volumes[j].Destination)
	})
	over := map[string]bool{}
	for _, v := range volumes {
		over[path.Clean(v.Destination)] = true
	}
	for _, f := range c.Files {
		if !over[f.Destination] {
			s.Mounts = append(s.Mounts, bind(f))
		}
	}
	for _, v := range volumes {
		s.Mounts = append(s.Mounts, bind(v))
	}
	return nil
}

func bind(m Mount) specs.Mount {
	mode := "rw"
	if m.ReadOnly {
		mode = "ro"
	}
	return specs.Mount{
		Destination: path.Clean(m.Destination), Type: "bind", Source: filepath.Clean(m.Source),
		Options: []string{"rbind", "rprivate", mode},
	}
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

func (c Container) security(ctx context.Context, client ctrdoci.Client, cc *containers.Container, s *specs.Spec) error {
	sc := c.securityContext()
	s.Process.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
	if isTrue(sc.Privileged) {
		return ctrdoci.Compose(ctrdoci.WithPrivileged, ctrdoci.WithHostDevices, ctrdoci.WithAllDevicesAllowed)(ctx, client, cc, s)
	}
	if err := setCapabilities(s, sc.Capabilities); err != nil {
		return err
	}
	if err := ctrdoci.WithDefaultUnixDevices(ctx, client, cc, s); err != nil {
		return err
	}
	if c.seccomp() == corev1.SeccompProfileTypeUnconfined {
		return nil
	}
	// After the capabilities: the profile depends on them.
	return defaultSeccomp(ctx, client, cc, s)
}

// seccomp is the container's profile, else the pod's, else the default.
func (c Container) seccomp() corev1.SeccompProfileType {
	if p := c.securityContext().SeccompProfile; p != nil {
		return p.Type
	}
	if ps := c.Pod.Spec.SecurityContext; ps != nil && ps.SeccompProfile != nil {
		return ps.SeccompProfile.Type
	}
	return corev1.SeccompProfileTypeRuntimeDefault
}

// securityContext is the container's own securityContext, never nil.
func (c Container) securityContext() *corev1.SecurityContext {
	if c.Container.SecurityContext != nil {
		return c.Container.SecurityContext
	}
	return &corev1.SecurityContext{}
}

func isTrue(b *bool) bool { return b != nil && *b }
