package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/internal/version"
)

func versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := version.Get()
			return g.print(v, func() error {
				_, err := fmt.Fprintln(g.Out, "varve", v)
				return err
			})
		},
	}
}
