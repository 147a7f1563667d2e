package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/image"
)

func imageMountCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "mount [REF [PATH]]",
		Short: "Mount an image read-only and print where; without REF list the mounts",
		Long: `Mount an image's root file system read-only, with device nodes and setuid
programs without effect, and print the path. The mount outlives the command;
varve image unmount undoes it, also after a crash. Without an argument the
mounts are listed.`,
		Args:              usage(cobra.MaximumNArgs(2)),
		ValidArgsFunction: g.completeImages(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				if len(args) == 0 {
					return g.listImageMounts(ctx, s)
				}
				img, err := s.Get(ctx, args[0])
				if err != nil {
					return err
				}
				path := ""
				if len(args) == 2 {
					path = args[1]
				}
				m, err := s.Mount(ctx, img, path)
				if err != nil {
					return err
				}
				return g.print(m, func() error {
					_, err := fmt.Fprintln(g.Out, m.Path)
					return err
				})
			})
		},
	}
}

func (g *globals) listImageMounts(ctx context.Context, s *image.Store) error {
	all, err := s.Mounted(ctx)
	if err != nil {
		return err
	}
	if all == nil {
		all = []image.Mounted{}
	}
	return g.print(all, func() error {
		var rows [][]string
		for _, m := range all {
			rows = append(rows, []string{m.Path, m.Image, m.Since.Local().Format(time.DateTime)})
		}
		return g.table([]string{"PATH", "IMAGE", "SINCE"}, rows)
	})
}

func imageUnmountCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "unmount PATH|REF...",
		Aliases: []string{"umount"},
		Short:   "Undo image mount",
		Args:    usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				for _, what := range args {
					if err := s.Unmount(ctx, what); err != nil {
						return err
					}
					fmt.Fprintln(g.Out, what)
				}
				return nil
			})
		},
	}
}
