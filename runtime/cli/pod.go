package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/supervise"
)

func podCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "Look at pods, talk to them, stop and remove them",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		runCommand(g), podLsCommand(g), podInspectCommand(g), podLogsCommand(g),
		podExecCommand(g), podStopCommand(g), podRmCommand(g),
	)
	return cmd
}

// repair re-adopts pods whose supervisor died. What fails there concerns
// other pods and must not keep this command from its own.
func (g *globals) repair() {
	if err := supervise.Repair(g.Config); err != nil {
		fmt.Fprintf(g.Err, "varve: %v\n", err)
	}
}

// record finds the pod that an argument names.
func (g *globals) record(arg string) (*pod.Record, error) {
	key, err := pod.ParseKey(arg)
	if err != nil {
		return nil, usageError{err}
	}
	return pod.NewStore(g.Config).Get(key)
}

// completePods offers the names of pods to the shell.
func (g *globals) completePods(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if err := g.load(cmd.Flags()); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	records, _ := pod.NewStore(g.Config).List()
	var names []string
	for _, r := range records {
		names = append(names, r.Key.String())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func podLsCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list", "ps"},
		Short:   "List pods",
		Args:    usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			g.repair()
			views, err := g.views()
			return errors.Join(g.print(views, func() error { return g.podTable(views) }), err)
		},
	}
}

func (g *globals) views() ([]view, error) {
	store := pod.NewStore(g.Config)
	records, err := store.List()
	views := []view{}
	for _, r := range records {
		v, verr := viewOf(store, r)
		if verr != nil {
			err = errors.Join(err, verr)
			continue
		}
		views = append(views, v)
	}
	return views, err
}

func (g *globals) podTable(views []view) error {
	head := []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"}
	wide := g.Output == "wide"
	if wide {
		head = append(head, "IPS", "IMAGES", "UID")
	}
	var rows [][]string
	for _, v := range views {
		row := []string{
			v.Metadata.Key.String(), v.ready(), v.word(), strconv.Itoa(v.restarts()), age(v.Metadata.Created), firstOf(v.Status.IPs),
		}
		if wide {
			row = append(row, list(v.Status.IPs), list(v.images()), v.Metadata.UID)
		}
		rows = append(rows, row)
	}
	return g.table(head, rows)
}

func podInspectCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "inspect POD...",
		Short:             "Print everything known of pods",
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: g.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
			g.repair()
			store := pod.NewStore(g.Config)
			views := []view{}
			for _, a := range args {
				rec, err := g.record(a)
				if err != nil {
					return err
				}
				v, err := viewOf(store, rec)
				if err != nil {
					return err
				}
				views = append(views, v)
			}
			if g.Output == "" || g.Output == "wide" {
				g.Output = "json"
			}
			return g.print(views, nil)
		},
	}
}

func podStopCommand(g *globals) *cobra.Command {
	var grace int64
	cmd := &cobra.Command{
		Use:               "stop POD...",
		Short:             "Stop pods and release what they hold; their records and logs stay",
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: g.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			var limit *int64
			if cmd.Flags().Changed("time") {
				if grace < 0 {
					return usagef("--time %d: must not be negative", grace)
				}
				limit = &grace
			}
			return g.eachPod(args, func(rec *pod.Record) error {
				return supervise.Stop(cmd.Context(), g.Config, rec, limit)
			})
		},
	}
	cmd.Flags().Int64VarP(&grace, "time", "t", 0, "seconds until containers are killed (default: the pod's terminationGracePeriodSeconds)")
	return cmd
}

func podRmCommand(g *globals) *cobra.Command {
	var force, all bool
	cmd := &cobra.Command{
		Use:               "rm POD...",
		Short:             "Remove pods, with their logs and writable layers; claims stay",
		ValidArgsFunction: g.completePods,
		Args: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usagef("pod rm: name pods or give --all; usage: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				records, err := pod.NewStore(g.Config).List()
				if err != nil {
					return err
				}
				for _, r := range records {
					args = append(args, r.Key.String())
				}
			}
			return g.eachPod(args, func(rec *pod.Record) error {
				return supervise.Remove(cmd.Context(), g.Config, rec, force)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill the containers of pods that run")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all pods")
	return cmd
}

// eachPod does something to every pod named, and prints its name when done;
// one that fails does not keep the others from it.
func (g *globals) eachPod(args []string, do func(*pod.Record) error) error {
	var errs []error
	for _, a := range args {
		rec, err := g.record(a)
		if err == nil {
			err = do(rec)
		}
		if err == nil {
			_, err = fmt.Fprintln(g.Out, a)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
