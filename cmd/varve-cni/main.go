// Command varve-cni is the CNI plug-in: see cni-plugin/README.md.
package main

import (
	"os"

	"github.com/varve-project/varve/cni-plugin/attach"
)

func main() { os.Exit(attach.Main(os.Args, os.Stdout, os.Stderr)) }
