// Package server puts the CSI driver together: the back end, and the services
// over it, in one process. That process runs on every node, so there is no
// central controller; Kubernetes' sidecars run beside it in their node
// deployment.
package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/csi-driver/controller"
	"github.com/varve-project/varve/csi-driver/identity"
	"github.com/varve-project/varve/csi-driver/node"
	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/csi-driver/volume/file"
	"github.com/varve-project/varve/internal/mount"
	"github.com/varve-project/varve/internal/version"
)

// GuardWord as the only argument makes the daemon's binary a guard process;
// see mount.Freezer.
const GuardWord = "freeze-guard"

// Driver is the open driver.
type Driver struct{ backend *file.Backend }

// Open opens pool and records under root, repairs what a crash left, and
// registers the services.
func Open(ctx context.Context, root string, c Config, g *grpc.Server) (*Driver, error) {
	id, err := c.node()
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	backend, err := file.Open(ctx, c.file(root))
	if err != nil {
		return nil, err
	}
	locks := &volume.Locks{}
	nodes, warnings, err := node.Open(ctx, node.Config{
		Backend: backend, Locks: locks, Node: id, Dir: filepath.Join(root, "node"), BootID: boot,
	})
	if err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	// These keep nothing from working; `doctor` shows them as long as they
	// are so.
	for _, w := range warnings {
		log.G(ctx).WithError(w).Warn("left by an earlier run")
	}
	csi.RegisterIdentityServer(g, identity.New(version.Get().Version, backend.Healthy))
	csi.RegisterControllerServer(g, controller.New(backend, locks, id))
	csi.RegisterNodeServer(g, nodes)
	return &Driver{backend}, nil
}

// Close implements service.Service. Volumes that are staged stay so.
func (d *Driver) Close() error { return d.backend.Close() }

func (c *Config) file(root string) file.Config {
	return file.Config{
		Dir:        c.pool(root),
		StoreSize:  int64(c.StoreSize),
		Overcommit: c.Overcommit,
		Freezer:    mount.Freezer{Guard: []string{"/proc/self/exe", GuardWord}},
	}
}

// bootID is the kernel's name of this boot.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
