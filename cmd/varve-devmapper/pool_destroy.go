package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/devmapper/pool/setup"
)

func poolDestroyCommand() *cobra.Command {
	var c change
	var place placeFlags
	var d setup.Destroy
	cmd := &cobra.Command{
		Use:   "destroy UUID --yes",
		Short: "Take a pool apart: just what create made, and all that is on it",
		Long: `Take a pool apart, which loses every image, snapshot and container file on it.

What create made goes: volume group and labels of raw disks, the two volumes in
a group that was there before, the catalog beside a pool that was there before
(which is emptied), the files of a loop pool. The pool is named by its UUID,
which ` + "`varve-devmapper pool status`" + ` prints. It must be idle: no daemon, no open
snapshot. A destruction that was cut off goes on when it is run again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := place.locate(cmd)
			if err != nil {
				return err
			}
			d.UUID, d.Config = args[0], w.Pool
			_, err = c.perform(cmd, w.Root, true, func(ctx context.Context, h *setup.Host) (*setup.Plan, error) { return d.Plan(ctx, h, c.dryRun) })
			if err == nil && c.output == "text" && !c.dryRun {
				fmt.Fprintf(cmd.OutOrStdout(), "pool %s is gone\n", d.UUID)
			}
			return err
		},
	}
	c.flags(cmd)
	place.add(cmd)
	cmd.Flags().BoolVar(&d.Yes, "yes", false, "really lose all that is on the pool")
	return cmd
}
