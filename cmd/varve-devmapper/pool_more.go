package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/varve-project/varve/devmapper/pool/setup"
	"github.com/varve-project/varve/internal/finding"
)

func poolExtendCommand() *cobra.Command {
	var c change
	var place placeFlags
	var e setup.Extend
	cmd := &cobra.Command{
		Use:   "extend",
		Short: "Add disks to the volume group, or let the pool grow; works while it is in use",
		Long: `Let the pool grow, while it is in use or not.

In a volume group: --device adds disks to it, --data-size and --metadata-size
extend the pool, to a size or by one (+10G). A pool on two devices takes the
sizes that they have got, a loop pool those of --data-size and --metadata-size.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := place.locate(cmd)
			if err != nil {
				return err
			}
			e.Config = w.Pool
			p, err := c.perform(cmd, w.Root, false, func(ctx context.Context, h *setup.Host) (*setup.Plan, error) { return e.Plan(ctx, h) })
			return c.done(cmd, p, err, "has grown")
		},
	}
	c.flags(cmd)
	place.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&e.Devices, "device", nil, "disk to add to the volume group; may be repeated")
	f.StringArrayVar(&e.ForceWipe, "force-wipe", nil, "give up what is on this device; name it exactly, may be repeated")
	f.SetNormalizeFunc(shortSizes)
	f.Var(&e.Data, "data-size", "data space to have, or to add (+10G)")
	f.Var(&e.Metadata, "metadata-size", "metadata to have, or to add (+100M)")
	return cmd
}

// shortSizes lets --data and --metadata stand for --data-size and
// --metadata-size, as findings print them.
func shortSizes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "data" || name == "metadata" {
		name += "-size"
	}
	return pflag.NormalizedName(name)
}

func poolRepairCommand() *cobra.Command {
	var c change
	var place placeFlags
	var r setup.Repair
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Repair the metadata of an idle pool; the old ones are kept",
		Long: `Repair the metadata of a pool by thin_repair, and say what was lost.

The pool must be idle: no daemon, no open snapshot. Metadata that are whole are
left alone. The old ones are kept, as a volume or in a file that is named. See
first what would be done: --dry-run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := place.locate(cmd)
			if err != nil {
				return err
			}
			r.Config = w.Pool
			p, err := c.perform(cmd, w.Root, true, func(ctx context.Context, h *setup.Host) (*setup.Plan, error) { return r.Plan(ctx, h) })
			return c.done(cmd, p, err, "is repaired")
		},
	}
	c.flags(cmd)
	place.add(cmd)
	return cmd
}

// done says what became of the pool.
func (c *change) done(cmd *cobra.Command, p *setup.Plan, err error, what string) error {
	if err != nil || c.dryRun || c.output == "json" {
		return err
	}
	if len(p.Steps) == 0 {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "pool %s: nothing to do\n", p.UUID)
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "pool %s %s\n", p.UUID, what)
	return err
}

func poolStatusCommand() *cobra.Command {
	var output string
	var place placeFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how full the pool is, what state it is in, and what needs a person; change nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			w, err := place.locate(cmd)
			if err != nil {
				return err
			}
			s, err := setup.NewHost(w.Root, nil).Status(cmd.Context(), w.Pool)
			if err != nil {
				return err
			}
			if output == "text" {
				return s.WriteText(cmd.OutOrStdout())
			}
			if s.Findings == nil {
				s.Findings = finding.List{}
			}
			return writeJSON(cmd, s)
		},
	}
	outputFlag(cmd, &output)
	place.add(cmd)
	return cmd
}

// errFound makes `pool check` exit 1.
var errFound = errors.New("the pool is not well; see the findings above")

func poolCheckCommand() *cobra.Command {
	var output string
	var place placeFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read all of the pool's metadata and compare them with the catalog; exit 1 if something is wrong",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			w, err := place.locate(cmd)
			if err != nil {
				return err
			}
			h := setup.NewHost(w.Root, nil)
			release, err := h.Lock(false)
			if err != nil {
				return err
			}
			defer release()
			k, err := h.Check(cmd.Context(), w.Pool)
			if err != nil {
				return err
			}
			if output == "json" {
				if k.Findings == nil {
					k.Findings = finding.List{}
				}
				err = writeJSON(cmd, k)
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "pool %s: %d thin devices; checked: %s\n", k.UUID, k.Thins, k.How)
				err = k.Findings.WriteText(cmd.OutOrStdout())
			}
			if worst := k.Findings.Worst(); err == nil && (worst == finding.Error || worst == finding.Warning) {
				return errFound
			}
			return err
		},
	}
	outputFlag(cmd, &output)
	place.add(cmd)
	return cmd
}

func writeJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
