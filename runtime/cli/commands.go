package cli

import "github.com/spf13/cobra"

// commands lists what `varve` can do, in the order of the help text.
func commands(g *globals) []*cobra.Command {
	return []*cobra.Command{
		versionCommand(g),
	}
}
