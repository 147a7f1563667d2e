package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/volume"
)

func volumeCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Make, list, snapshot, grow and remove volumes",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(volumeCreateCommand(g), volumeCloneCommand(g), volumeLsCommand(g), volumeInspectCommand(g),
		volumeSnapshotCommand(g), volumeResizeCommand(g), volumeRmCommand(g))
	return cmd
}

// withVolumes opens the store for one command.
func (g *globals) withVolumes(f func(*volume.Store) error) error {
	s := volume.Open(g.Config)
	return errors.Join(f(s), s.Close())
}

func parseSize(flag, s string) (int64, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() <= 0 {
		return 0, usagef("%s %q: must be a size like 512Mi or 10Gi", flag, s)
	}
	return q.Value(), nil
}

func keyArg(s string) (pod.Key, error) {
	k, err := pod.ParseKey(s)
	if err != nil {
		return k, usageError{err}
	}
	return k, nil
}

func volumeCreateCommand(g *globals) *cobra.Command {
	var size, mode, fsType, snapshot, from string
	var parameters map[string]string
	cmd := &cobra.Command{
		Use:   "create NAME --size SIZE",
		Short: "Make a volume that pods claim by its name",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := keyArg(args[0])
			if err != nil {
				return err
			}
			r := volume.Request{
				AccessModes: []string{"ReadWriteOnce"}, FSType: fsType, Parameters: parameters,
				Snapshot: snapshot, Volume: from,
			}
			switch mode {
			case "Filesystem":
			case "Block":
				r.Block = true
			default:
				return usagef("--mode %q: must be Filesystem or Block", mode)
			}
			if snapshot != "" && from != "" {
				return usagef("--from-snapshot and --from-volume: give one")
			}
			if r.Block && fsType != "" {
				return usagef("--fs-type %q: means nothing with --mode Block", fsType)
			}
			return g.createVolume(cmd.Context(), k, r, size)
		},
	}
	f := cmd.Flags()
	f.StringVar(&size, "size", "", "its size, like 10Gi; with a source, the source's by default")
	f.StringVar(&mode, "mode", "Filesystem", "Filesystem or Block")
	f.StringVar(&fsType, "fs-type", "", "file system (default: the driver's)")
	f.StringVar(&snapshot, "from-snapshot", "", "restore this snapshot")
	f.StringVar(&from, "from-volume", "", "clone this volume")
	f.StringToStringVar(&parameters, "parameter", nil, "KEY=VALUE for the driver; may be repeated")
	return cmd
}

func volumeCloneCommand(g *globals) *cobra.Command {
	var size string
	cmd := &cobra.Command{
		Use:   "clone VOLUME NAME",
		Short: "Make a volume with the data of another",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := keyArg(args[0])
			if err != nil {
				return err
			}
			to, err := keyArg(args[1])
			if err != nil {
				return err
			}
			if from.Namespace != to.Namespace {
				return usagef("clone %s to %s: both must be in one namespace", from, to)
			}
			var r volume.Request
			err = g.withVolumes(func(s *volume.Store) error {
				v, err := s.Get(from)
				if err == nil {
					r = v.Request
				}
				return err
			})
			if err != nil {
				return err
			}
			r.Snapshot, r.Volume = "", from.Name
			return g.createVolume(cmd.Context(), to, r, size)
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "its size (default: the source's)")
	return cmd
}

func (g *globals) createVolume(ctx context.Context, k pod.Key, r volume.Request, size string) error {
	return g.withVolumes(func(s *volume.Store) error {
		var err error
		if size != "" {
			r.Bytes, err = parseSize("--size", size)
		} else {
			r.Bytes, err = s.SourceSize(k.Namespace, r)
		}
		if err != nil {
			return err
		}
		if r.Bytes == 0 {
			return usagef("volume %s: --size is missing", k)
		}
		v, err := s.Create(ctx, k, r)
		if err != nil {
			return err
		}
		return g.print(v, func() error { _, err := fmt.Fprintln(g.Out, v.Key); return err })
	})
}

func volumeLsCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List volumes and their snapshots",
		Args:    usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return g.withVolumes(func(s *volume.Store) error {
				volumes, err := s.List()
				snapshots, serr := s.ListSnapshots()
				all := struct {
					Volumes   []*volume.Volume   `json:"volumes"`
					Snapshots []*volume.Snapshot `json:"snapshots"`
				}{volumes, snapshots}
				return errors.Join(g.print(all, func() error { return g.volumeTable(s, volumes, snapshots) }), err, serr)
			})
		},
	}
}

func (g *globals) volumeTable(s *volume.Store, volumes []*volume.Volume, snapshots []*volume.Snapshot) error {
	var rows [][]string
	for _, v := range volumes {
		mode := "Filesystem"
		if v.Request.Block {
			mode = "Block"
		}
		users, err := s.Users(v.Key)
		if err != nil {
			return err
		}
		rows = append(rows, []string{v.Key.String(), "volume", string(v.State), bytes(v.Capacity), mode, fmt.Sprint(len(users)), age(v.Created)})
	}
	for _, n := range snapshots {
		rows = append(rows, []string{n.Key.String(), "snapshot", string(n.State), bytes(n.Size), "of " + n.Volume, "-", age(n.Created)})
	}
	return g.table([]string{"NAME", "KIND", "STATE", "SIZE", "MODE", "PODS", "AGE"}, rows)
}

func bytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return resource.NewQuantity(n, resource.BinarySI).String()
}

func volumeInspectCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect NAME...",
		Short: "Print everything known of volumes",
		Args:  usage(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			return g.withVolumes(func(s *volume.Store) error {
				var all []*volume.Volume
				for _, a := range args {
					k, err := keyArg(a)
					if err != nil {
						return err
					}
					v, err := s.Get(k)
					if err != nil {
						return err
					}
					all = append(all, v)
				}
				if g.Output == "" || g.Output == "wide" {
					g.Output = "json"
				}
				return g.print(all, nil)
			})
		},
	}
}

func volumeSnapshotCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot VOLUME NAME",
		Short: "Take a snapshot of a volume; `volume create --from-snapshot NAME` restores it",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := keyArg(args[0])
			if err != nil {
				return err
			}
			name, err := keyArg(args[1])
			if err != nil {
				return err
			}
			return g.withVolumes(func(s *volume.Store) error {
				snap, err := s.TakeSnapshot(cmd.Context(), v, name)
				if err != nil {
					return err
				}
				return g.print(snap, func() error { _, err := fmt.Fprintln(g.Out, snap.Key); return err })
			})
		},
	}
	return cmd
}

func volumeResizeCommand(g *globals) *cobra.Command {
	var size string
	cmd := &cobra.Command{
		Use:   "resize NAME --size SIZE",
		Short: "Grow a volume, in use or not",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := keyArg(args[0])
			if err != nil {
				return err
			}
			n, err := parseSize("--size", size)
			if err != nil {
				return err
			}
			return g.withVolumes(func(s *volume.Store) error {
				v, err := s.Resize(cmd.Context(), k, n)
				if err != nil {
					return err
				}
				return g.print(v, func() error { _, err := fmt.Fprintln(g.Out, v.Key, bytes(v.Capacity)); return err })
			})
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "its new size, like 10Gi")
	return cmd
}

func volumeRmCommand(g *globals) *cobra.Command {
	var snapshot bool
	cmd := &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove volumes, or with --snapshot snapshots, with their data",
		Args:  usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withVolumes(func(s *volume.Store) error {
				remove := s.Remove
				if snapshot {
					remove = s.RemoveSnapshot
				}
				var errs []error
				for _, a := range args {
					k, err := keyArg(a)
					if err == nil {
						err = remove(cmd.Context(), k)
					}
					if err == nil {
						_, err = fmt.Fprintln(g.Out, k)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVar(&snapshot, "snapshot", false, "the names are those of snapshots")
	return cmd
}
