package service

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/version"
)

func versionCommand(name string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and toolchain",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case "text":
				_, err := fmt.Fprintln(cmd.OutOrStdout(), binary(name), version.Get())
				return err
			case "json":
				return json.NewEncoder(cmd.OutOrStdout()).Encode(version.Get())
			}
			return badOutput(output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (p *program[C]) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the shipped configuration, or check the one in use",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return misuse{fmt.Errorf("config: say `%s config default` or `%s config check`", binary(p.spec.Name), binary(p.spec.Name))}
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "default",
		Short: "Print the shipped configuration as a commented file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shipped := p.spec.Default()
			p.spec.Common(&shipped).fill(p.spec.Name)
			return writeConfig(cmd.OutOrStdout(), shipped)
		},
	}, &cobra.Command{
		Use:   "check",
		Short: "Check configuration file and flags; say nothing more than ok",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := p.load(cmd); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return err
		},
	})
	return cmd
}

// doctorCommand prints the findings. It exits 0 whenever it could look: what
// it found is in the output, and `varve doctor` must tell "could not look"
// from "looked, and it is bad".
func (p *program[C]) doctorCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong on this node and how to mend it; change nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return badOutput(output)
			}
			config, err := p.load(cmd)
			if err != nil {
				return err
			}
			found := finding.List{}
			if p.spec.Doctor != nil {
				if found, err = p.spec.Doctor(cmd.Context(), config); err != nil {
					return err
				}
			}
			found.Sort()
			if output == "json" {
				return found.WriteJSON(cmd.OutOrStdout())
			}
			if len(found) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "nothing found")
				return err
			}
			return found.WriteText(cmd.OutOrStdout())
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "text or json")
}

func badOutput(output string) error {
	return misuse{fmt.Errorf("--output %q: want text or json", output)}
}
