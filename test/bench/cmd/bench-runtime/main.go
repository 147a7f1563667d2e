// Command bench-runtime measures the start of a warm pod; see
// test/bench/podstart. It exits 0 when a target is missed, and says so.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/varve-project/varve/test/bench/podstart"
	"github.com/varve-project/varve/test/node"
)

func main() {
	var o podstart.Options
	flag.StringVar(&o.Dir, "dir", "build/bench", "folder for the data, which is removed afterwards; it decides the disk")
	flag.StringVar(&o.Bin, "bin", "bin", "folder of our binaries, with the peers' in peers/")
	flag.StringVar(&o.Results, "results", "test/bench/results", "folder for the results")
	flag.IntVar(&o.Rounds, "rounds", 5, "interleaved rounds")
	flag.IntVar(&o.Starts, "starts", 5, "starts of each side in a round")
	flag.BoolVar(&o.PeersOnly, "peers-only", false, "leave varve out, to try the harness out; writes nothing")
	flag.Parse()
	os.Exit(node.Main("varve-bench", func(ctx context.Context) error {
		return podstart.Run(ctx, o, os.Stdout)
	}))
}
