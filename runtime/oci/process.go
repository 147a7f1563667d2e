package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	ctrdoci "github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/varve-project/varve/runtime/pod/manifest"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// process sets what the container runs. command replaces the image's entry
// point and its command, args its command only.
func (c Container) process(ctx context.Context, client ctrdoci.Client, cc *containers.Container, s *specs.Spec) error {
	image := c.Image.Config
	s.Process.Env = []string{defaultPath}
	own := []string{"HOSTNAME=" + c.Pod.Spec.Hostname}
	vars := map[string]string{}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	for _, e := range c.Container.Env {
		vars[e.Name] = manifest.Expand(e.Value, lookup)
		own = append(own, e.Name+"="+vars[e.Name])
	}
	for _, env := range [][]string{image.Env, own} {
		if err := ctrdoci.WithEnv(env)(ctx, client, cc, s); err != nil {
			return err
		}
	}
	entry, args := image.Entrypoint, image.Cmd
	if len(c.Container.Command) > 0 {
		entry, args = c.Container.Command, nil
	}
	if len(c.Container.Args) > 0 {
		args = c.Container.Args
	}
	s.Process.Args = nil
	for _, a := range append(append([]string(nil), entry...), args...) {
		s.Process.Args = append(s.Process.Args, manifest.Expand(a, lookup))
	}
	if len(s.Process.Args) == 0 {
		return fmt.Errorf("image %s has no command of its own; set command", c.Container.Image)
	}
	s.Process.Cwd = "/"
	if image.WorkingDir != "" {
		s.Process.Cwd = image.WorkingDir
	}
	if c.Container.WorkingDir != "" {
		s.Process.Cwd = c.Container.WorkingDir
	}
	// Inherited from the supervisor: containerd's default would cut every
	// container to 1,024 files.
	s.Process.Rlimits = nil
	return nil
}

// user sets who the process is: by the container, else the pod, else the
// image, whose names are looked up in the root file system.
func (c Container) user(ctx context.Context, client ctrdoci.Client, cc *containers.Container, s *specs.Spec) error {
	sc, pod := c.securityContext(), c.Pod.Spec.SecurityContext
	uid, gid, nonRoot := sc.RunAsUser, sc.RunAsGroup, sc.RunAsNonRoot
	if pod != nil {
		uid, gid, nonRoot = first(uid, pod.RunAsUser), first(gid, pod.RunAsGroup), first(nonRoot, pod.RunAsNonRoot)
	}
	name := c.Image.Config.User
	if uid != nil {
		name = strconv.FormatInt(*uid, 10)
	}
	if name == "" {
		name = "0"
	}
	if err := ctrdoci.WithUser(name)(ctx, client, cc, s); err != nil {
		return fmt.Errorf("find user %q of image %s: %w", name, c.Container.Image, err)
	}
	// Before the groups are looked up: the primary group is one of them.
	if gid != nil {
		s.Process.User.GID = uint32(*gid)
	}
	user := s.Process.User
	who, _, _ := strings.Cut(name, ":")
	if err := ctrdoci.WithAdditionalGIDs(who)(ctx, client, cc, s); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("find groups of user %q of image %s: %w", name, c.Container.Image, err)
	}
	groups := []uint32{user.GID}
	for _, g := range s.Process.User.AdditionalGids {
		groups = appendGroup(groups, g)
	}
	if pod != nil {
		for _, g := range pod.SupplementalGroups {
			groups = appendGroup(groups, uint32(g))
		}
	}
	user.AdditionalGids = groups
	s.Process.User = user
	if isTrue(nonRoot) && user.UID == 0 {
		return fmt.Errorf("runAsNonRoot is set, and the container would run as root; set runAsUser")
	}
	return nil
}

func appendGroup(groups []uint32, g uint32) []uint32 {
	for _, have := range groups {
		if have == g {
			return groups
		}
	}
	return append(groups, g)
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}
