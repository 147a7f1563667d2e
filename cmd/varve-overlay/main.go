// varve-overlay serves the overlay2 snapshotter to containerd.
package main

import (
	"context"
	"errors"

	"github.com/containerd/log"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/service"
	"github.com/varve-project/varve/overlay"
	"github.com/varve-project/varve/snapshotter/server"
)

type config struct {
	service.Common
	overlay.Config
	Server server.Config `toml:"server"`
}

func main() {
	service.Main(service.Spec[config]{
		Name:    "overlay",
		Short:   "containerd snapshotter on overlay file systems: quotas, durable commits, parallel unpack",
		Default: func() config { return config{Config: overlay.DefaultConfig(), Server: server.DefaultConfig()} },
		Common:  func(c *config) *service.Common { return &c.Common },
		Flags:   flags,
		Check:   func(c *config) error { return errors.Join(c.Config.Check(), c.Server.Check()) },
		Open:    open,
		Doctor: func(ctx context.Context, c *config) (finding.List, error) {
			return doctor(ctx, c)
		},
		Commands: func(load func(*cobra.Command) (*config, error)) []*cobra.Command {
			return []*cobra.Command{stanzaCommand(load), auditCommand(load)}
		},
	})
}

func flags(cmd *cobra.Command, c *config) {
	cmd.PersistentFlags().BoolVar(&c.SyncCommit, "sync-commit", c.SyncCommit, "write data to the disk before a commit counts")
}

func open(ctx context.Context, c *config, g *grpc.Server) (service.Service, error) {
	d, err := overlay.Open(ctx, c.Root, c.Config, log.G(ctx).WithField("part", "overlay"))
	if err != nil {
		return nil, err
	}
	server.New(d, c.Server).Register(g)
	return d, nil
}
