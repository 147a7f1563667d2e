package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/image"
)

func imageListCommand(g *globals) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the images",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				all, err := s.List(ctx)
				if err != nil {
					return err
				}
				if all == nil {
					all = []image.Image{}
				}
				return g.print(all, func() error {
					if !quiet {
						return g.imageTable(all)
					}
					for _, img := range all {
						fmt.Fprintln(g.Out, img.Name)
					}
					return nil
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "names only")
	return cmd
}

func (g *globals) imageTable(all []image.Image) error {
	head := []string{"NAME", "ID", "LAYERS", "SIZE", "AGE"}
	if g.Output == "wide" {
		head = append(head, "PLATFORM", "DIGEST")
	}
	var rows [][]string
	for _, img := range all {
		row := []string{img.Name, shortID(img), strconv.Itoa(img.Layers), humanSize(img.Size), age(img.Updated)}
		if g.Output == "wide" {
			row = append(row, platforms.Format(img.Platform), img.Target.Digest.String())
		}
		rows = append(rows, row)
	}
	return g.table(head, rows)
}

func shortID(img image.Image) string {
	if img.ID == "" {
		return "damaged"
	}
	return img.ID.Encoded()[:12]
}

// humanSize prints bytes in powers of 1024, three digits.
func humanSize(n int64) string {
	size, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for size >= 1000 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 || size >= 100 {
		return fmt.Sprintf("%.0f %s", size, units[unit])
	}
	return fmt.Sprintf("%.3g %s", size, units[unit])
}

func imageInspectCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "inspect REF...",
		Short:             "Print all that is known of images, as JSON or (-o yaml) YAML",
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: g.completeImages(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				var all []image.Image
				for _, ref := range args {
					img, err := s.Get(ctx, ref)
					if err != nil {
						return err
					}
					all = append(all, img)
				}
				if g.Output != "yaml" {
					g.Output = "json"
				}
				return g.print(all, nil)
			})
		},
	}
}
