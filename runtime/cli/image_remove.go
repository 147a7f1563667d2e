package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/image"
)

func imageRemoveCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "rm REF...",
		Aliases: []string{"remove", "rmi"},
		Short:   "Remove images by name or id",
		Long: `Remove images by name or id. Content and layers that no other name needs go
with them; layers under a running container go when the container does.`,
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: g.completeImages(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				var errs []error
				for _, ref := range args {
					if err := s.Remove(ctx, ref); err != nil {
						errs = append(errs, err)
						continue
					}
					fmt.Fprintln(g.Out, ref)
				}
				return errors.Join(errs...)
			})
		},
	}
}

func imagePruneCommand(g *globals) *cobra.Command {
	var o image.PruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove content and layers that no image and no container needs",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				report, err := s.Prune(ctx, o)
				if err != nil {
					return err
				}
				return g.print(report, func() error { return g.pruneText(report, o.DryRun) })
			})
		},
	}
	cmd.Flags().BoolVarP(&o.All, "all", "a", false, "also images that no container uses")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would go")
	return cmd
}

func (g *globals) pruneText(r image.PruneReport, dryRun bool) error {
	verb := "removed"
	if dryRun {
		verb = "would remove"
	}
	for _, name := range r.Images {
		fmt.Fprintf(g.Out, "%s image %s\n", verb, name)
	}
	for _, name := range r.Snapshots {
		fmt.Fprintf(g.Out, "%s layer %s\n", verb, name)
	}
	for _, digest := range r.Blobs {
		fmt.Fprintf(g.Out, "%s content %s\n", verb, digest)
	}
	for _, id := range r.Ingests {
		fmt.Fprintf(g.Out, "%s half-written content %s\n", verb, id)
	}
	_, err := fmt.Fprintf(g.Out, "%s %d images, %d layers, %s of content\n", verb, len(r.Images), len(r.Snapshots), humanSize(r.Bytes))
	return err
}
