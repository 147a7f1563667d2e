// Package cli is the command line of the reference runtime. It parses flags,
// asks the packages beside it to do the work, and prints what they return; it
// holds no logic of pods, images or volumes, and it is the only place of the
// runtime that prints.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/varve-project/varve/runtime/config"
)

// globals is what every command gets: the configuration after file and flags,
// the output format, and the three streams (tests replace them).
type globals struct {
	Config config.Config
	Output string
	In     io.Reader
	Out    io.Writer
	Err    io.Writer

	configFile string
}

// Exit codes of the command line; `pod exec` passes on its command's own.
const (
	exitDone    = 0
	exitFailed  = 1
	exitMisused = 2
)

// Main runs the command line and returns the process's exit code. SIGINT and
// SIGTERM cancel what is under way; a second one ends the process at once.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	g := &globals{In: in, Out: out, Err: errOut}
	root := newRoot(g)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var exit exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	fmt.Fprintf(errOut, "varve: %v\n", err)
	var misuse usageError
	if errors.As(err, &misuse) {
		return exitMisused
	}
	return exitFailed
}

// exitError ends the process with a code after everything has been said.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// usageError marks a mistake in the command line itself: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// usage turns the errors of cobra's argument checks into misuse.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%s: %w\nusage: %s", cmd.CommandPath(), err, cmd.UseLine())
		}
		return nil
	}
}

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:           "varve",
		Short:         "Run Kubernetes pods on one machine through the Varve plug-ins",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; `varve help` lists them", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(g.In)
	root.SetOut(g.Out)
	root.SetErr(g.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s: %w; see `%s --help`", cmd.CommandPath(), err, cmd.CommandPath())
	})
	addGlobalFlags(root.PersistentFlags(), g)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return g.load(cmd.Flags()) }
	root.AddCommand(commands(g)...)
	return root
}

func addGlobalFlags(f *pflag.FlagSet, g *globals) {
	d := config.Default()
	f.StringVar(&g.configFile, "config", "", "configuration file (default "+config.DefaultFile+" if there)")
	f.StringVar(&g.Config.Root, "root", d.Root, "folder that outlives a reboot")
	f.StringVar(&g.Config.State, "state", d.State, "folder that a reboot clears; sockets are STATE/NAME.sock")
	f.StringVar(&g.Config.Snapshotter, "snapshotter", d.Snapshotter, "snapshotter plug-in")
	f.StringVar(&g.Config.SnapshotterAddress, "snapshotter-address", "", "its socket (default STATE/NAME.sock)")
	f.StringVar(&g.Config.CSIAddress, "csi-address", "", "socket of the CSI driver (default STATE/csi.sock)")
	f.StringVar(&g.Config.CNIConfDir, "cni-conf-dir", "", "folder of CNI configuration lists")
	f.StringSliceVar(&g.Config.CNIBinDirs, "cni-bin-dir", d.CNIBinDirs, "folders of CNI plug-ins, after varve's own")
	f.StringVar(&g.Config.Network, "network", d.Network, "CNI network that pods join")
	f.StringVar(&g.Config.OCIRuntime, "oci-runtime", d.OCIRuntime, "OCI runtime, a name in PATH or a path")
	f.StringVarP(&g.Output, "output", "o", "", "json, yaml or wide (default a table)")
}

// load reads the configuration file and lays the flags that were given over
// it.
func (g *globals) load(flags *pflag.FlagSet) error {
	given := map[string][]string{}
	flags.Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given[f.Name] = list.GetSlice()
		} else {
			given[f.Name] = []string{f.Value.String()}
		}
	})
	file, err := config.Load(g.configFile)
	if err != nil {
		return usageError{err}
	}
	g.Config = file
	for name, values := range given {
		f := flags.Lookup(name)
		if list, ok := f.Value.(pflag.SliceValue); ok {
			err = list.Replace(values)
		} else {
			err = f.Value.Set(values[0])
		}
		if err != nil {
			return usagef("--%s: %w", name, err)
		}
	}
	switch g.Output {
	case "", "json", "yaml", "wide":
	default:
		return usagef("--output %q: must be json, yaml or wide", g.Output)
	}
	if err := g.Config.Check(); err != nil {
		return usageError{fmt.Errorf("configuration: %w", err)}
	}
	return nil
}
