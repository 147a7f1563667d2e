package cli

import "github.com/spf13/cobra"

// commands lists what `varve` can do, in the order of the help text.
func commands(g *globals) []*cobra.Command {
	return []*cobra.Command{
		upCommand(g),
		downCommand(g),
		imageCommand(g),
		runCommand(g),
		podCommand(g),
		volumeCommand(g),
		whyCommand(g),
		doctorCommand(g),
		versionCommand(g),
		superviseCommand(g),
	}
}
