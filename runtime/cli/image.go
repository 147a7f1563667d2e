package cli

import (
	"context"
	"path/filepath"

	"github.com/containerd/log"
	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/image"
)

// openImages opens the image store of the configuration. The caller closes it.
func (g *globals) openImages(ctx context.Context) (*image.Store, error) {
	// containerd's libraries log what is no news to a person at a prompt, such
	// as a file system without fs-verity.
	_ = log.SetLevel("error")
	return image.Open(ctx, image.Options{
		Root:        filepath.Join(g.Config.RuntimeRoot(), "images"),
		Snapshotter: g.Config.SnapshotterName(),
		Address:     g.Config.SnapshotterSocket(),
	})
}

// withImages runs fn with the open store.
func (g *globals) withImages(cmd *cobra.Command, fn func(ctx context.Context, s *image.Store) error) error {
	s, err := g.openImages(cmd.Context())
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	return fn(cmd.Context(), s)
}

func imageCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Pull, load, list and remove container images",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		imagePullCommand(g), imageLoadCommand(g), imageListCommand(g), imageInspectCommand(g),
		imageRemoveCommand(g), imagePruneCommand(g), imageMountCommand(g), imageUnmountCommand(g),
	)
	return cmd
}

// completeImages offers the names of images for the arguments of a command
// that takes at most limit of them (0 for any number).
func (g *globals) completeImages(limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit || g.load(cmd.Flags()) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		_ = g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
			all, err := s.List(ctx)
			for _, img := range all {
				names = append(names, img.Name)
			}
			return err
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
