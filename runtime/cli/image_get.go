package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/image"
)

func imagePullCommand(g *globals) *cobra.Command {
	var o image.PullOptions
	var keep bool
	cmd := &cobra.Command{
		Use:   "pull REF",
		Short: "Fetch an image from a registry and unpack it",
		Example: `  varve image pull debian:12
  varve image pull localhost:5000/app@sha256:...`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				show := newProgress(g.Err)
				o.Unpack, o.Progress = !keep, show.event
				img, err := s.Pull(ctx, args[0], o)
				show.close()
				if err != nil {
					return err
				}
				return g.printLoaded([]image.Image{img})
			})
		},
	}
	cmd.Flags().StringVar(&o.Platform, "platform", "", "os/arch[/variant] (default this machine's)")
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "speak http to the registry (loopback gets it without)")
	cmd.Flags().BoolVar(&keep, "no-unpack", false, "leave the layers packed until a container needs them")
	return cmd
}

func imageLoadCommand(g *globals) *cobra.Command {
	var o image.LoadOptions
	var keep bool
	cmd := &cobra.Command{
		Use:   "load FILE|DIR|-",
		Short: "Load images from an OCI layout, an OCI archive or a docker archive and unpack them",
		Long: `Load images from an OCI layout directory, or from an OCI archive or a docker
archive (docker save, skopeo, podman save), plain or compressed by gzip or
zstd. A dash reads the archive from standard input.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(ctx context.Context, s *image.Store) error {
				show := newProgress(g.Err)
				o.In, o.Unpack, o.Progress = g.In, !keep, show.event
				imgs, err := s.Load(ctx, args[0], o)
				show.close()
				if err != nil {
					return err
				}
				return g.printLoaded(imgs)
			})
		},
	}
	cmd.Flags().StringVar(&o.Name, "name", "", "name for the one image in the archive, in place of its own")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "os/arch[/variant] (default this machine's)")
	cmd.Flags().BoolVar(&keep, "no-unpack", false, "leave the layers packed until a container needs them")
	return cmd
}

func (g *globals) printLoaded(imgs []image.Image) error {
	return g.print(imgs, func() error {
		for _, img := range imgs {
			if _, err := fmt.Fprintln(g.Out, img.Name); err != nil {
				return err
			}
		}
		return nil
	})
}
