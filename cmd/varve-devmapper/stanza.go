package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/devmapper"
	"github.com/varve-project/varve/snapshotter"
)

// stanzaCommand prints what containerd needs to know of this plug-in. The
// capabilities there are static, so they are what this kernel has.
func stanzaCommand(load func(*cobra.Command) (*config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "stanza",
		Short: "Print the [proxy_plugins] entry for containerd's configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(cmd)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), snapshotter.Plugin{
				Name: "varve-devmapper", Address: c.Address, Root: c.Root, Capabilities: devmapper.Detect(),
			}.Stanza())
			return err
		},
	}
}
