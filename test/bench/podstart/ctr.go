package podstart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/varve-project/varve/test/bench/peer"
	"github.com/varve-project/varve/test/node"
)

// ctr is `ctr run --cni` with its containerd and the reference plug-ins.
type ctr struct {
	binary     string
	containerd *peer.Containerd
}

// newCtr starts a containerd. The places of ctr's network configuration and
// plug-ins are compiled in, so it needs the node's own /etc and /opt.
func newCtr(ctx context.Context, peers, dir, archive string) (*ctr, error) {
	if err := errors.Join(node.Private("/etc"), node.Private("/opt")); err != nil {
		return nil, err
	}
	if err := writeReferenceNetwork("/etc/cni/net.d", "/run/bench/ctr-leases"); err != nil {
		return nil, err
	}
	if err := os.MkdirAll("/opt/cni", 0o755); err != nil {
		return nil, err
	}
	if err := os.Symlink(filepath.Join(peers, "cni"), "/opt/cni/bin"); err != nil {
		return nil, err
	}
	containerd, err := peer.StartContainerd(ctx, filepath.Join(peers, "containerd"), filepath.Join(dir, "containerd"), "/run/bench/containerd", nil)
	if err != nil {
		return nil, err
	}
	c := &ctr{binary: filepath.Join(peers, "ctr"), containerd: containerd}
	if out, err := c.command(ctx, "images", "import", "--no-unpack=false", archive).CombinedOutput(); err != nil {
		return c, fmt.Errorf("ctr images import: %w: %s", err, out)
	}
	return c, nil
}

func (c *ctr) command(ctx context.Context, args ...string) *exec.Cmd {
	all := append([]string{"--address", c.containerd.Socket, "--namespace", "bench"}, args...)
	return exec.CommandContext(ctx, c.binary, all...)
}

func (c *ctr) start(ctx context.Context, id string) (float64, []phase, error) {
	cmd := c.command(ctx, "run", "--rm", "--cni", imageName, id)
	begin, err := now()
	if err != nil {
		return 0, nil, err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, nil, fmt.Errorf("ctr run: %w: %s", err, out)
	}
	ms, err := since(begin, out)
	return ms, nil, err
}
