// varve-csi serves CSI volumes of this node.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/csi-driver/server"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/mount"
	"github.com/varve-project/varve/internal/service"
)

type config struct {
	service.Common
	server.Config
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == server.GuardWord {
		os.Exit(mount.GuardMain())
	}
	service.Main(service.Spec[config]{
		Name:    "csi",
		Short:   "CSI driver for volumes on this node: file systems and raw devices, snapshots, clones",
		Default: func() config { return config{Config: server.DefaultConfig()} },
		Common:  func(c *config) *service.Common { return &c.Common },
		Flags:   flags,
		Check:   func(c *config) error { return c.Config.Check() },
		Open: func(ctx context.Context, c *config, g *grpc.Server) (service.Service, error) {
			return server.Open(ctx, c.Root, c.Config, g)
		},
		Doctor: func(ctx context.Context, c *config) (finding.List, error) {
			return server.Doctor(ctx, c.Root, c.Config)
		},
	})
}

func flags(cmd *cobra.Command, c *config) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.NodeID, "node-id", c.NodeID, "what the orchestrator calls this node; empty is the host's name")
	f.StringVar(&c.Pool, "pool", c.Pool, "folder for volumes and snapshots; empty is ROOT/pool")
	f.Var(&c.StoreSize, "store-size", "size of the store file that a pool without reflinks gets")
}
