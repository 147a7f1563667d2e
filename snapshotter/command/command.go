// Package command has the sub-commands that every snapshotter daemon offers
// besides those of internal/service: audit and stanza. What they look at is the
// daemon's own business.
package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/snapshotter"
)

// AuditText is what a daemon's audit says for people.
type AuditText struct {
	// Short and Fix describe the command and its flag --fix.
	Short, Fix string
	// Agree is printed when nothing was found.
	Agree string
}

// Audit compares records with what they stand for. It exits 0 whenever it
// could look; what it found is in its output.
func Audit(text AuditText, look func(cmd *cobra.Command, fix bool) (finding.List, error)) *cobra.Command {
	var fix bool
	var output string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: text.Short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: want text or json", output)
			}
			list, err := look(cmd, fix)
			if err != nil {
				return err
			}
			if output == "json" {
				return list.WriteJSON(cmd.OutOrStdout())
			}
			if len(list) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), text.Agree)
				return err
			}
			return list.WriteText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&fix, "fix", false, text.Fix)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// Stanza prints what containerd needs to know of this plug-in. The
// capabilities there are static, so they are what this kernel has.
func Stanza(plugin func(cmd *cobra.Command) (snapshotter.Plugin, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "stanza",
		Short: "Print the [proxy_plugins] entry for containerd's configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := plugin(cmd)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), p.Stanza())
			return err
		},
	}
}
