// Command bench-overlay compares varve-overlay with containerd's built-in
// overlayfs; see test/bench/overlay. It exits 0 when a target is missed, and
// says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/varve-project/varve/test/bench/builtin"
	"github.com/varve-project/varve/test/bench/overlay"
	"github.com/varve-project/varve/test/node"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == overlay.ServeBuiltin {
		if err := builtin.Serve(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	var o overlay.Options
	flag.StringVar(&o.Dir, "dir", "build/bench", "folder for the data, which is removed afterwards; it decides the disk")
	flag.StringVar(&o.Bin, "bin", "bin", "folder of our binaries, with the peers' in peers/")
	flag.StringVar(&o.Results, "results", "test/bench/results", "folder for the results")
	flag.IntVar(&o.Rounds, "rounds", 5, "interleaved rounds")
	flag.BoolVar(&o.SelfCheck, "self-check", false, "compare the built-in with itself: ratios must be about 1, save where one of them saves a socket")
	flag.BoolVar(&o.Quick, "quick", false, "a tenth of the operations")
	flag.StringVar(&o.Only, "only", "", "measure only what has this in its name")
	flag.Parse()
	os.Exit(node.Main("varve-bench", func(ctx context.Context) error {
		return overlay.Run(ctx, o, os.Stdout)
	}))
}
