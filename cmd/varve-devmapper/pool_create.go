package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/devmapper/pool/setup"
)

func poolCreateCommand() *cobra.Command {
	var c change
	var r setup.Create
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a thin pool and its catalog on a raw disk, in a volume group, on two devices, or in files",
		Long: `Make a thin pool and its catalog, and print the configuration for it.

  --device /dev/sdb               a raw disk (or several): volume group, pool and catalog are made
  --volume-group VG [--size S]    in the free space of an existing volume group
  --thin-pool VG/LV               an existing thin pool that is empty; only the catalog is made
  --data-device D --metadata-device M
                                  two devices, without LVM
  --loop-directory DIR --size S   files, to try it out; never for production

A device that is mounted, swapped on or part of something is refused in any
case, one that is not empty unless --force-wipe names it again. What a creation
that was cut off has made is known by its marks: run the same command again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := locate(cmd)
			if err != nil {
				return err
			}
			r.Config, r.Settings = w.file, w.Pool
			p, err := c.perform(cmd, w.Root, true, func(ctx context.Context, h *setup.Host) (*setup.Plan, error) { return r.Plan(ctx, h) })
			if err != nil || c.output == "json" {
				return err
			}
			out := cmd.OutOrStdout()
			if c.dryRun {
				fmt.Fprintln(out, "\nnothing was changed. The configuration would be:")
			} else if r.WriteConfig {
				fmt.Fprintf(out, "pool %s is ready; %s names it\n", p.UUID, r.Config)
				return nil
			} else {
				fmt.Fprintf(out, "pool %s is ready. Put this into %s (or run it with --write-config next time):\n", p.UUID, r.Config)
			}
			fmt.Fprintf(out, "\n%s", r.Snippet())
			return nil
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&r.Devices, "device", nil, "raw disk to take whole; may be repeated")
	f.StringVar(&r.VolumeGroup, "volume-group", "", "existing volume group; with --device the name of the new one (varve)")
	f.StringVar(&r.ThinPool, "thin-pool", "", "existing, empty thin-pool volume, as VG/LV")
	f.StringVar(&r.DataDevice, "data-device", "", "device for data, without LVM; the catalog lies at its start")
	f.StringVar(&r.MetadataDevice, "metadata-device", "", "device for the pool's metadata, without LVM")
	f.StringVar(&r.LoopDirectory, "loop-directory", "", "folder for files, to try it out")
	f.Var(&r.Size, "size", "data space (default: what there is, less a reserve)")
	f.Var(&r.Chunk, "chunk-size", "the pool's block size (default: by the kernel's advice)")
	f.Var(&r.Metadata, "metadata-size", "size of the pool's metadata (default: by the kernel's formula)")
	f.BoolVar(&r.SkipZeroing, "skip-block-zeroing", false, "do not zero blocks before their first use; safe only where nobody but file systems reads the devices")
	f.StringArrayVar(&r.ForceWipe, "force-wipe", nil, "give up what is on this device; name it exactly, may be repeated")
	f.StringVar(&r.UUID, "uuid", "", "the new pool's identity (default: a random one)")
	f.BoolVar(&r.WriteConfig, "write-config", false, "write the configuration file if there is none")
	return cmd
}
