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

// Main runs program in a node of its own and returns the exit code for
// os.Exit. It must be called first thing in main, before flags have effects:
// it runs in all three processes. The context ends at SIGINT or SIGTERM; an
// error of program is printed to stderr and gives 1.
func Main(hostname string, program func(context.Context) error) int {
	var err error
	code := 0
	switch os.Getenv(stageVariable) {
	case "":
		code, err = keep(hostname)
	case "init":
		code, err = initialize(hostname)
	case "program":
		err = run(program)
	default:
		err = fmt.Errorf("%s=%q: unset it, it is for this program's own use", stageVariable, os.Getenv(stageVariable))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return code
}

func run(program func(context.Context) error) error {
	if err := os.Unsetenv(stageVariable); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return program(ctx)
}
