// varve-devmapper serves the devicemapper snapshotter to containerd.
package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/devmapper"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/service"
	"github.com/varve-project/varve/snapshotter/server"
)

type config struct {
	service.Common
	devmapper.Config
	Pool   pool.Config   `toml:"pool" comment:"Where the pool lies and what to do when it fills; varve-devmapper pool create writes this."`
	Server server.Config `toml:"server"`
}

func defaultConfig() config {
	return config{Config: devmapper.DefaultConfig(), Pool: pool.DefaultConfig(), Server: server.DefaultConfig()}
}

func main() {
	service.Main(service.Spec[config]{
		Name:    "devmapper",
		Short:   "containerd snapshotter on a device-mapper thin pool: block devices, ext4 and xfs, size limits",
		Default: defaultConfig,
		Common:  func(c *config) *service.Common { return &c.Common },
		Check:   func(c *config) error { return errors.Join(c.Config.Check(), c.Pool.Check(), c.Server.Check()) },
		Open:    open,
		Doctor: func(ctx context.Context, c *config) (finding.List, error) {
			return doctor(ctx, c)
		},
		Commands: func(load func(*cobra.Command) (*config, error)) []*cobra.Command {
			return []*cobra.Command{stanzaCommand(load), auditCommand(load), poolCommand(load)}
		},
	})
}
