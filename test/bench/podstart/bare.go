package podstart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containernetworking/cni/libcni"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// bare is `runc run` and one CNI ADD, and nothing else: the floor. runc's own
// default spec has no seccomp profile; with confined it gets containerd's
// default one, as the peers have it (ours may leave x32 out, see runtime/oci),
// whose compilation by libseccomp is a good part of a start.
type bare struct {
	runc, bundle, state string
	confined            bool
	cni                 *libcni.CNIConfig
	network             *libcni.NetworkConfigList
}

// newBare makes a bundle of the program. The network is the first list of
// confDir, its plug-ins in binDirs.
func newBare(ctx context.Context, runc, dir, program, confDir string, binDirs []string, confined bool) (*bare, error) {
	b := &bare{
		runc: runc, bundle: filepath.Join(dir, fmt.Sprintf("bundle-confined-%t", confined)), state: "/run/bench/runc", confined: confined,
		cni: libcni.NewCNIConfigWithCacheDir(binDirs, "/run/bench/cni-cache", nil),
	}
	lists, err := libcni.ConfFiles(confDir, []string{".conflist"})
	if err != nil || len(lists) == 0 {
		return nil, fmt.Errorf("no CNI configuration list in %s: %w", confDir, err)
	}
	if b.network, err = libcni.ConfListFromFile(lists[0]); err != nil {
		return nil, err
	}
	rootfs := filepath.Join(b.bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return nil, err
	}
	body, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(rootfs, "stamp"), body, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, runc, "spec", "--bundle", b.bundle).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec: %w: %s", err, out)
	}
	return b, nil
}

func (b *bare) start(ctx context.Context, id string) (ms float64, phases []phase, err error) {
	netns := "/run/netns/" + id
	if out, err := exec.CommandContext(ctx, "ip", "netns", "add", id).CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("ip netns add %s: %w: %s", id, err, out)
	}
	defer func() { err = errors.Join(err, exec.Command("ip", "netns", "del", id).Run()) }()
	sandbox := &libcni.RuntimeConf{ContainerID: id, NetNS: netns, IfName: "eth0"}
	begin := time.Now()
	if _, err := b.cni.AddNetworkList(ctx, b.network, sandbox); err != nil {
		return 0, nil, fmt.Errorf("CNI ADD: %w", err)
	}
	add := float64(time.Since(begin)) / float64(time.Millisecond)
	defer func() { err = errors.Join(err, b.cni.DelNetworkList(context.WithoutCancel(ctx), b.network, sandbox)) }()
	if err := b.spec(id, netns); err != nil {
		return 0, nil, err
	}
	run, err := b.run(ctx, id)
	return add + run, []phase{{"CNI ADD", add}, {"runc run", run}}, err
}

func (b *bare) run(ctx context.Context, id string) (float64, error) {
	cmd := exec.CommandContext(ctx, b.runc, "--root", b.state, "run", "--bundle", b.bundle, id)
	begin, err := now()
	if err != nil {
		return 0, err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("runc run: %w: %s", err, out)
	}
	return since(begin, out)
}

// spec points runc's own default spec at the program and the namespace.
func (b *bare) spec(id, netns string) error {
	file := filepath.Join(b.bundle, "config.json")
	return editJSON(file, func(spec *specs.Spec) {
		spec.Process.Terminal = false
		spec.Process.Args = []string{"/stamp"}
		spec.Linux.CgroupsPath = "/varve-bench/" + id
		for i := range spec.Linux.Namespaces {
			if spec.Linux.Namespaces[i].Type == specs.NetworkNamespace {
				spec.Linux.Namespaces[i].Path = netns
			}
		}
		if b.confined {
			spec.Linux.Seccomp = seccomp.DefaultProfile(spec)
		}
	})
}
