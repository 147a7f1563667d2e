package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/network"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/suite"
	"github.com/varve-project/varve/runtime/supervise"
)

// daemonState is what up and down print of a daemon.
type daemonState struct {
	suite.Daemon
	State string `json:"state"`
}

func upCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Start the suite's daemons, on a machine without systemd, and write the default network",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := network.WriteDefault(g.Config)
			if err != nil {
				return err
			}
			if path != "" {
				fmt.Fprintf(g.Err, "network %s written to %s\n", g.Config.Network, path)
			}
			all := []daemonState{}
			for _, d := range suite.Daemons(g.Config) {
				started, err := d.Up(cmd.Context())
				if err != nil {
					return err
				}
				state := "running"
				if started {
					state = "started"
				}
				all = append(all, daemonState{d, state})
			}
			g.repair()
			return g.print(all, func() error { return g.daemonTable(all) })
		},
	}
}

func downCommand(g *globals) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the daemons that `varve up` started, and take the idle network away",
		Long: `Stop the daemons that "varve up" started, and take away the bridge and the
packet rules of the network, unless it has attachments; the next pod brings
them back. Pods that run go on running, but cannot be removed until the daemons
are up again; so without --force the command refuses while there are any, and
with it the network stays.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !force {
				if err := g.nothingRuns(); err != nil {
					return err
				}
			}
			all := []daemonState{}
			var errs []error
			for _, d := range suite.Daemons(g.Config) {
				stopped, err := d.Down(cmd.Context())
				if err != nil {
					errs = append(errs, err)
					continue
				}
				state := "not running"
				if stopped {
					state = "stopped"
				}
				all = append(all, daemonState{d, state})
			}
			supervise.RemoveCgroupParent(g.Config)
			if !force {
				stays, err := network.New(g.Config).Dismantle(cmd.Context())
				fmt.Fprint(g.Err, stays)
				errs = append(errs, err)
			}
			errs = append(errs, g.print(all, func() error { return g.daemonTable(all) }))
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also while pods run")
	return cmd
}

// nothingRuns refuses while there are pods that have not ended.
func (g *globals) nothingRuns() error {
	store := pod.NewStore(g.Config)
	records, err := store.List()
	if err != nil {
		return err
	}
	for _, r := range records {
		st, err := store.Status(r)
		if err != nil {
			return err
		}
		if !st.Ended() {
			return fmt.Errorf("pod %s runs; `varve pod rm -f %s` removes it, `varve down --force` leaves it running", r.Key, r.Key)
		}
	}
	return nil
}

func (g *globals) daemonTable(all []daemonState) error {
	var rows [][]string
	for _, d := range all {
		rows = append(rows, []string{"varve-" + d.Name, d.State, d.Address, d.Log})
	}
	return g.table([]string{"DAEMON", "STATE", "ADDRESS", "LOG"}, rows)
}
