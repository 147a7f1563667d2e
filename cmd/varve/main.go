// Varve runs Kubernetes pods on one machine through the Varve plug-ins.
package main

import (
	"os"

	"github.com/varve-project/varve/runtime/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
