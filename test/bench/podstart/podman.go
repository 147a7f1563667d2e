package podstart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// podman is Debian's, with a store of its own and the same runc as everyone.
type podman struct {
	args []string
	env  []string
	name string
	// store is podman's --root.
	store string
}

// podmanConf: what podman asks for by default beyond a machine's hard limits
// is not what is measured, and neither is systemd.
const podmanConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "bench"
[engine.runtimes]
bench = [%q]
`

// newPodman returns nil, and why, on a machine without podman.
func newPodman(ctx context.Context, runc, dir, archive string) (*podman, string, error) {
	binary, err := exec.LookPath("podman")
	if err != nil {
		return nil, "podman is not installed (apt-get install podman)", nil
	}
	conf := filepath.Join(dir, "podman.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, podmanConf, runc), 0o644); err != nil {
		return nil, "", err
	}
	p := &podman{
		args:  []string{binary, "--root", filepath.Join(dir, "podman"), "--runroot", "/run/bench/podman", "--tmpdir", "/run/bench/podman-tmp", "--storage-driver", "overlay"},
		env:   append(os.Environ(), "CONTAINERS_CONF="+conf),
		store: filepath.Join(dir, "podman"),
	}
	version, err := p.command(ctx, "--version").Output()
	if err != nil {
		return nil, "", fmt.Errorf("podman --version: %w", err)
	}
	p.name = strings.Replace(strings.TrimSpace(string(version)), "version ", "", 1) + " run"
	if out, err := p.command(ctx, "load", "--input", archive).CombinedOutput(); err != nil {
		return p, "", fmt.Errorf("podman load: %w: %s", err, out)
	}
	return p, "", nil
}

func (p *podman) command(ctx context.Context, args ...string) *exec.Cmd {
	all := append(append([]string{}, p.args[1:]...), args...)
	cmd := exec.CommandContext(ctx, p.args[0], all...)
	cmd.Env = p.env
	return cmd
}

func (p *podman) start(ctx context.Context, id string) (float64, []phase, error) {
	cmd := p.command(ctx, "run", "--rm", "--pull", "never", "--name", id, imageName)
	begin, err := now()
	if err != nil {
		return 0, nil, err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, nil, fmt.Errorf("podman run: %w: %s", err, out)
	}
	ms, err := since(begin, out)
	return ms, nil, err
}

// Close undoes the bind mount that podman makes of its store.
func (p *podman) Close() error {
	if err := unix.Unmount(p.store+"/overlay", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount podman's store: %w", err)
	}
	return nil
}
