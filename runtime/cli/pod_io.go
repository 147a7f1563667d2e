package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/varve-project/varve/runtime/oci"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/supervise/crilog"
)

func podLogsCommand(g *globals) *cobra.Command {
	var container string
	var follow, timestamps, previous bool
	cmd := &cobra.Command{
		Use:               "logs POD",
		Short:             "Print what a container wrote",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: g.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			g.repair()
			rec, err := g.record(args[0])
			if err != nil {
				return err
			}
			store := pod.NewStore(g.Config)
			st, err := store.Status(rec)
			if err != nil {
				return err
			}
			c, err := pickContainer(rec, st, container)
			if err != nil {
				return err
			}
			attempt := c.Attempt
			if previous {
				if attempt--; attempt < 0 {
					return fmt.Errorf("container %q of pod %s has run once only; there is no earlier log", c.Name, rec.Key)
				}
			}
			name := c.Name
			return crilog.Read(cmd.Context(), store.Paths(rec).Log(name, attempt), crilog.ReadOptions{
				Stdout: g.Out, Stderr: g.Err, Timestamps: timestamps, Follow: follow,
				Ended: func() bool { return runEnded(store, rec, name, attempt) },
			})
		},
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "the container, when the pod has several")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the container ends")
	cmd.Flags().BoolVar(&timestamps, "timestamps", false, "prefix each line with its time")
	cmd.Flags().BoolVarP(&previous, "previous", "p", false, "the run before this one")
	return cmd
}

// runEnded tells whether a run of a container will write no more.
func runEnded(store *pod.Store, rec *pod.Record, name string, attempt int) bool {
	now, err := store.Get(rec.Key)
	if err != nil || now.UID != rec.UID {
		return true
	}
	st, err := store.Status(rec)
	if err != nil {
		return true
	}
	c := st.Container(name)
	return c.Attempt > attempt || c.State == pod.Terminated || c.State == pod.Waiting && c.Last != nil || st.Ended()
}

// pickContainer finds a container by name, or the only ordinary one.
func pickContainer(rec *pod.Record, st *pod.Status, name string) (*pod.ContainerStatus, error) {
	var names, ordinary []string
	for _, c := range st.Containers {
		names = append(names, c.Name)
		if !c.Init {
			ordinary = append(ordinary, c.Name)
		}
	}
	if name == "" {
		if len(ordinary) > 1 {
			return nil, usagef("pod %s has containers %s; name one with -c", rec.Key, strings.Join(names, ", "))
		}
		name = ordinary[0]
	}
	if c := st.Container(name); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("pod %s has no container %q, only %s", rec.Key, name, strings.Join(names, ", "))
}

func podExecCommand(g *globals) *cobra.Command {
	var container string
	var stdin, tty bool
	cmd := &cobra.Command{
		Use:   "exec POD [-it] [-c CONTAINER] -- COMMAND [ARG...]",
		Short: "Run a command in a container; its exit status is the command's",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("pod exec: name a pod and a command; usage: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: g.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
			g.repair()
			rec, err := g.record(args[0])
			if err != nil {
				return err
			}
			st, err := pod.NewStore(g.Config).Status(rec)
			if err != nil {
				return err
			}
			c, err := pickContainer(rec, st, container)
			if err != nil {
				return err
			}
			if c.State != pod.Running {
				return fmt.Errorf("container %q of pod %s does not run, it is %s", c.Name, rec.Key, joinWords(string(c.State), c.Reason))
			}
			return g.exec(rec, c, args[1:], stdin, tty)
		},
	}
	cmd.Flags().SetInterspersed(true)
	cmd.Flags().StringVarP(&container, "container", "c", "", "the container, when the pod has several")
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "pass standard input on")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal")
	return cmd
}

// exec becomes the OCI runtime's exec, which handles terminal, window size,
// signals and exit status itself. It returns only when that fails.
func (g *globals) exec(rec *pod.Record, c *pod.ContainerStatus, args []string, stdin, tty bool) error {
	made := rec.Config
	rt, err := oci.Find(made.OCIRuntime, filepath.Join(g.Config.RuntimeState(), "oci"), made.BinDirs()...)
	if err != nil {
		return err
	}
	if tty && !isatty.IsTerminal(os.Stdin.Fd()) {
		fmt.Fprintln(g.Err, "varve: standard input is no terminal: going on without one")
		tty = false
	}
	if !stdin && !tty {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		if err := syscall.Dup3(int(null.Fd()), 0, 0); err != nil {
			return errors.Join(fmt.Errorf("close standard input: %w", err), null.Close())
		}
	}
	line := rt.ExecArgs(c.ID, tty, args)
	return fmt.Errorf("run %s: %w", rt.Path, syscall.Exec(rt.Path, line, os.Environ()))
}
