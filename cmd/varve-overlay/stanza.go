package main

import (
	"github.com/spf13/cobra"

	"github.com/varve-project/varve/overlay"
	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/command"
)

func stanzaCommand(load func(*cobra.Command) (*config, error)) *cobra.Command {
	return command.Stanza(func(cmd *cobra.Command) (snapshotter.Plugin, error) {
		c, err := load(cmd)
		if err != nil {
			return snapshotter.Plugin{}, err
		}
		able, err := overlay.Detect(c.Root, c.Config)
		if err != nil {
			return snapshotter.Plugin{}, err
		}
		return snapshotter.Plugin{Name: "varve-overlay", Address: c.Address, Root: c.Root, Capabilities: able}, nil
	})
}
