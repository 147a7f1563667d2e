package oci

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// in is a container of an image with a user database.
func in(t *testing.T) Container {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/:/bin/sh\nweb:x:101:102::/:/bin/sh\n",
		"group":  "root:x:0:\nweb:x:102:\nextra:x:103:web\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := corev1.Container{Name: "c", Image: "i"}
	return Container{
		ID: "id", Rootfs: root, Container: &c, CgroupsPath: "/varve/uid/c", Shm: "/shm",
		NetNS: "/ns/net", IPCNS: "/ns/ipc", UTSNS: "/ns/uts",
		Pod: &corev1.Pod{Spec: corev1.PodSpec{Hostname: "h", Containers: []corev1.Container{c}}},
		Image: ocispec.Image{Config: ocispec.ImageConfig{
			Entrypoint: []string{"/entry"}, Cmd: []string{"cmd"}, Env: []string{"FROM=image", "BOTH=image"}, WorkingDir: "/work",
		}},
	}
}

func spec(t *testing.T, c Container) *specs.Spec {
	t.Helper()
	s, err := Spec(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestArgs(t *testing.T) {
	for _, c := range []struct {
		command, args, want []string
	}{
		{nil, nil, []string{"/entry", "cmd"}},
		{[]string{"/x"}, nil, []string{"/x"}},
		{nil, []string{"y"}, []string{"/entry", "y"}},
		{[]string{"/x", "$(A)"}, []string{"$(B)", "$$(A)", "$(FROM)"}, []string{"/x", "a", "ab", "$(A)", "$(FROM)"}},
	} {
		in := in(t)
		in.Container.Command, in.Container.Args = c.command, c.args
		in.Container.Env = []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "B", Value: "$(A)b"}, {Name: "BOTH", Value: "pod"}}
		s := spec(t, in)
		if !reflect.DeepEqual(s.Process.Args, c.want) {
			t.Errorf("command %q args %q: %q, want %q", c.command, c.args, s.Process.Args, c.want)
		}
		for _, e := range []string{"FROM=image", "BOTH=pod", "B=ab", "HOSTNAME=h", defaultPath} {
			if !slices.Contains(s.Process.Env, e) {
				t.Errorf("env %q lacks %q", s.Process.Env, e)
			}
		}
		if s.Process.Cwd != "/work" {
			t.Errorf("cwd %q", s.Process.Cwd)
		}
	}
	bare := in(t)
	bare.Image.Config.Entrypoint, bare.Image.Config.Cmd = nil, nil
	if _, err := Spec(context.Background(), bare); err == nil || !strings.Contains(err.Error(), "set command") {
		t.Errorf("no command: %v", err)
	}
}

func TestUser(t *testing.T) {
	id := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name     string
		image    string
		pod      corev1.PodSecurityContext
		own      corev1.SecurityContext
		uid, gid uint32
		groups   []uint32
		err      string
	}{
		{name: "root", uid: 0, gid: 0, groups: []uint32{0}},
		{name: "by name", image: "web", uid: 101, gid: 102, groups: []uint32{102, 103}},
		{name: "by number", image: "101", uid: 101, gid: 102, groups: []uint32{102, 103}},
		{name: "with group", image: "web:root", uid: 101, gid: 0, groups: []uint32{0, 103}},
		{name: "pod over image", image: "web", pod: corev1.PodSecurityContext{RunAsUser: id(7)}, uid: 7, gid: 0, groups: []uint32{0}},
		{name: "own over pod", pod: corev1.PodSecurityContext{RunAsUser: id(7), RunAsGroup: id(8), SupplementalGroups: []int64{9, 9}},
			own: corev1.SecurityContext{RunAsUser: id(101)}, uid: 101, gid: 8, groups: []uint32{8, 103, 9}},
		{name: "no such user", image: "nobody", err: `find user "nobody"`},
		{name: "out of range", image: "4294967296", err: "out of range"},
	} {
		in := in(t)
		in.Image.Config.User, in.Pod.Spec.SecurityContext, in.Container.SecurityContext = c.image, &c.pod, &c.own
		s, err := Spec(context.Background(), in)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if u := s.Process.User; u.UID != c.uid || u.GID != c.gid || !reflect.DeepEqual(u.AdditionalGids, c.groups) {
			t.Errorf("%s: %+v", c.name, u)
		}
	}
}

func TestCapabilities(t *testing.T) {
	caps := func(add, drop []corev1.Capability) []string {
		in := in(t)
		in.Container.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: add, Drop: drop}}
		s := spec(t, in)
		if !reflect.DeepEqual(s.Process.Capabilities.Bounding, s.Process.Capabilities.Effective) || s.Process.Capabilities.Inheritable != nil {
			t.Errorf("sets differ: %+v", s.Process.Capabilities)
		}
		return s.Process.Capabilities.Bounding
	}
	if got := caps(nil, []corev1.Capability{"ALL"}); len(got) != 0 {
		t.Errorf("drop ALL leaves %v", got)
	}
	if got := caps([]corev1.Capability{"net_admin"}, []corev1.Capability{"ALL"}); !reflect.DeepEqual(got, []string{"CAP_NET_ADMIN"}) {
		t.Errorf("add one, drop ALL: %v", got)
	}
	if got := caps([]corev1.Capability{"SYS_TIME"}, []corev1.Capability{"CHOWN"}); !slices.Contains(got, "CAP_SYS_TIME") || slices.Contains(got, "CAP_CHOWN") || !slices.Contains(got, "CAP_KILL") {
		t.Errorf("add and drop: %v", got)
	}
}

func TestResources(t *testing.T) {
	q := resource.MustParse
	in := in(t)
	in.Container.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: q("250m"), corev1.ResourceMemory: q("64Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: q("1500m"), corev1.ResourceMemory: q("128Mi")},
	}
	in.Pod.Spec.Containers[0] = *in.Container
	s := spec(t, in)
	r := s.Linux.Resources
	if *r.CPU.Shares != 256 || *r.CPU.Quota != 150_000 || *r.CPU.Period != 100_000 || *r.Memory.Limit != 128<<20 {
		t.Errorf("cpu %+v memory %+v", r.CPU, r.Memory)
	}
	if score := *s.Process.OOMScoreAdj; score < 3 || score > 999 {
		t.Errorf("burstable: oom score %d", score)
	}
	in.Container.Resources.Requests = in.Container.Resources.Limits
	in.Pod.Spec.Containers[0] = *in.Container
	own, err := ownOOMScore()
	if err != nil {
		t.Fatal(err)
	}
	if score := *spec(t, in).Process.OOMScoreAdj; score != own {
		t.Errorf("guaranteed: oom score %d, want this process's %d", score, own)
	}
	in.Container.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: q("1n")}, Limits: corev1.ResourceList{corev1.ResourceCPU: q("1m")},
	}
	in.Pod.Spec.Containers[0] = *in.Container
	if cpu := spec(t, in).Linux.Resources.CPU; *cpu.Shares != 2 || *cpu.Quota != 1000 {
		t.Errorf("least: shares %d quota %d", *cpu.Shares, *cpu.Quota)
	}
	in.Container.Resources = corev1.ResourceRequirements{}
	in.Pod.Spec.Containers[0] = *in.Container
	if score := *spec(t, in).Process.OOMScoreAdj; score != 1000 {
		t.Errorf("best effort: oom score %d", score)
	}
}

func TestSecurity(t *testing.T) {
	yes, no := true, false
	in := in(t)
	s := spec(t, in)
	if s.Linux.Seccomp == nil || s.Process.NoNewPrivileges || s.Root.Readonly || len(s.Linux.MaskedPaths) == 0 {
		t.Errorf("defaults: seccomp %v, nnp %t, ro %t, masked %v", s.Linux.Seccomp != nil, s.Process.NoNewPrivileges, s.Root.Readonly, s.Linux.MaskedPaths)
	}
	in.Container.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
	}
	if s := spec(t, in); s.Linux.Seccomp != nil || !s.Process.NoNewPrivileges || !s.Root.Readonly {
		t.Errorf("seccomp %v, nnp %t, ro %t", s.Linux.Seccomp != nil, s.Process.NoNewPrivileges, s.Root.Readonly)
	}
	in.Container.SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	if s := spec(t, in); s.Linux.Seccomp != nil || len(s.Linux.MaskedPaths) != 0 {
		t.Errorf("privileged: seccomp %v, masked %v", s.Linux.Seccomp != nil, s.Linux.MaskedPaths)
	}
	if s := spec(t, in); s.Process.Rlimits != nil {
		t.Errorf("rlimits %v", s.Process.Rlimits)
	}
}

// A volume below another comes after it, whatever the manifest's order, and
// one at /etc/hosts replaces ours.
func TestMounts(t *testing.T) {
	in := in(t)
	in.Files = []Mount{{Source: "/f/hosts", Destination: "/etc/hosts"}, {Source: "/f/hostname", Destination: "/etc/hostname"}}
	in.Volumes = []Mount{{Source: "/v/b", Destination: "/a/b"}, {Source: "/v/a", Destination: "/a/", ReadOnly: true}, {Source: "/v/h", Destination: "/etc/hosts"}}
	var got []string
	for _, m := range spec(t, in).Mounts {
		if m.Type == "bind" {
			got = append(got, m.Source+":"+m.Destination+":"+m.Options[len(m.Options)-1])
		}
	}
	want := []string{"/shm:/dev/shm:rw", "/f/hostname:/etc/hostname:rw", "/v/a:/a:ro", "/v/b:/a/b:rw", "/v/h:/etc/hosts:rw"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}
