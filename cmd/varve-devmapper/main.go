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

// check leaves a configuration alone that names no pool yet: it must be
// possible to ask such a node's doctor, and to print its stanza. The daemon
// itself then says what to do, and ends.
func check(c *config) error {
	err := errors.Join(c.Config.Check(), c.Server.Check())
	if c.located() {
		err = errors.Join(err, c.Pool.Check())
	}
	return err
}

// located tells whether the configuration says where a pool lies.
func (c *config) located() bool {
	p := c.Pool
	return p.VolumeGroup+p.ThinPool+p.DataDevice+p.MetadataDevice+p.LoopDirectory != ""
}

func main() {
	service.Main(service.Spec[config]{
		Name:    "devmapper",
		Short:   "containerd snapshotter on a device-mapper thin pool: block devices, ext4 and xfs, size limits",
		Default: defaultConfig,
		Common:  func(c *config) *service.Common { return &c.Common },
		Check:   check,
		Open:    open,
		Doctor: func(ctx context.Context, c *config) (finding.List, error) {
			return doctor(ctx, c)
		},
		Commands: func(load func(*cobra.Command) (*config, error)) []*cobra.Command {
			return []*cobra.Command{stanzaCommand(load), auditCommand(load), poolCommand(load)}
		},
	})
}
