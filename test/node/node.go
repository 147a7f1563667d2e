// Package node gives a program a node of its own: it starts the program again
// in new mount, network, UTS, IPC and PID namespaces, with loopback up, a
// private /run and a /proc of its own. What the program does there touches
// neither the network nor the mounts of the machine, and the kernel takes
// processes, mounts, namespaces, links and nftables rules away when the
// program ends, however it ends.
//
// Shared with the machine are the disk, loop devices, cgroups and sysctls that
// no namespace holds. Those are the program's to clean up.
//
// Three processes take part: the one a user started, which waits and passes
// signals on; the init of the node, which reaps; and the program.
package node

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// stageVariable tells a process of this package which of the three it is.
const stageVariable = "VARVE_TEST_NODE_STAGE"

// Main runs program in a node of its own. It returns only in the process that
// a user started, after the node and everything in it has gone, with the exit
// code for os.Exit; what the program left on the shared machine can be cleaned
// up then. It must be called first thing in main, before anything has effects
// that must happen once, unless Inside is asked.
//
// The program's context ends at SIGINT or SIGTERM; its error is printed to
// stderr and gives the code 1.
func Main(hostname string, program func(context.Context) error) int {
	stage := os.Getenv(stageVariable)
	code, err := 0, error(nil)
	switch stage {
	case "":
		code, err = keep(hostname)
	case "init":
		code, err = initialize(hostname)
	case "program":
		err = run(program)
	default:
		err = fmt.Errorf("%s=%q: unset it, it is for this program's own use", stageVariable, stage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		code = 1
	}
	if stage != "" {
		os.Exit(code)
	}
	return code
}

func run(program func(context.Context) error) error {
	// What the program starts is not a stage of it.
	if err := os.Unsetenv(stageVariable); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return program(ctx)
}
