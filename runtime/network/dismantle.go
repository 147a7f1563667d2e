package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/containernetworking/cni/pkg/invoke"
)

// ownPlugin is the one plug-in that can be asked to take away what the pods
// of a network share; CNI has no verb for it, so others are left alone.
const ownPlugin = "varve-cni"

// Dismantle has the plug-in take away the network's bridge and packet rules,
// which the next pod brings back, and returns what stays and why, one line
// each. It is for a node without pods: while there is an attachment, of this
// runtime or another's, all of it stays. A network that is not configured, or
// is another plug-in's, has nothing to take away.
func (n *CNI) Dismantle(ctx context.Context) (string, error) {
	list, err := n.conf()
	if errors.Is(err, ErrNoNetwork) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, plugin := range list.Plugins {
		if plugin.Network.Type == ownPlugin {
			return n.dismantle(ctx, list.Bytes)
		}
	}
	return "", nil
}

func (n *CNI) dismantle(ctx context.Context, list []byte) (string, error) {
	path, err := invoke.FindInPath(ownPlugin, n.cfg.BinDirs())
	if err != nil {
		return "", fmt.Errorf("take network %s away: %w", n.cfg.Network, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "dismantle", "--conf", "-")
	cmd.Stdin = bytes.NewReader(list)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("take network %s away: %s: %w: %s", n.cfg.Network, cmd, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
