// Command bench-cni measures the CNI plug-in's ADD and DEL; see test/bench/cni.
// It exits 0 when a target is missed, and says so.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/varve-project/varve/test/bench/cni"
	"github.com/varve-project/varve/test/node"
)

func main() {
	var o cni.Options
	flag.StringVar(&o.Dir, "dir", "build/bench", "folder for the records, which are removed afterwards; it decides the disk")
	flag.StringVar(&o.Bin, "bin", "bin", "folder of our binaries, with the reference plug-ins in peers/cni/")
	flag.StringVar(&o.Results, "results", "test/bench/results", "folder for the results; empty writes none")
	flag.IntVar(&o.Rounds, "rounds", 5, "interleaved rounds")
	flag.IntVar(&o.Pods, "pods", 24, "pods of each side in a round")
	flag.Parse()
	os.Exit(node.Main("varve-bench", func(ctx context.Context) error {
		return cni.Run(ctx, o, os.Stdout)
	}))
}
