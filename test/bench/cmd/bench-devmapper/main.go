// Command bench-devmapper compares varve-devmapper with containerd's built-in
// devmapper snapshotter in a virtual machine; see test/bench/devmapper. It
// exits 0 when a target is missed, and says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/varve-project/varve/test/bench/builtin"
	"github.com/varve-project/varve/test/bench/devmapper"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 4 && args[0] == devmapper.ServeBuiltin {
		where := builtin.Devmapper{Root: args[1], Pool: args[2], BaseSize: devmapper.BaseSize, Discard: true}
		return builtin.ServeDevmapper(ctx, where, args[3])
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	guest := len(args) > 0 && args[0] == devmapper.InGuest
	if guest {
		args = args[1:]
	}
	var o devmapper.Options
	flags := flag.NewFlagSet("bench-devmapper", flag.ExitOnError)
	flags.StringVar(&o.Bin, "bin", "bin", "folder of our binaries")
	flags.StringVar(&o.Results, "results", "test/bench/results", "folder for the results")
	flags.IntVar(&o.Rounds, "rounds", 5, "interleaved rounds; long measures have fewer")
	flags.IntVar(&o.Part, "part", 1, "divide the operations of a round by this")
	flags.StringVar(&o.Only, "only", "", "measure only what has this in its name")
	flags.StringVar(&o.Note, "note", "", "what a reader of the results must know, such as that the machine was busy")
	flags.DurationVar(&o.Timeout, "timeout", time.Hour, "how long all of it may take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if guest {
		return devmapper.Run(ctx, o, os.Stdout)
	}
	return devmapper.Boot(ctx, o, args, os.Stdout, os.Stderr)
}
