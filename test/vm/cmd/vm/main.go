// Command vm runs a command in a virtual machine; see the package
// test/vm for what the machine is.
//
//	vm run [flags] -- COMMAND [ARG]...
//	vm fetch
//
// It is also the program that runs in the guest.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/varve-project/varve/test/vm"
	"github.com/varve-project/varve/test/vm/guest"
)

// exitMachine is the status where the machine failed, not the command. The
// command's own is anything else (and could be this, as with env or timeout).
const exitMachine = 125

const usage = `usage: vm run [flags] -- COMMAND [ARG]...   run COMMAND in a new virtual machine
       vm fetch                              get the newest kernel of the distribution
       vm run -h                             the flags`

func main() {
	if os.Getpid() == 1 && os.Args[0] == guest.Init {
		guest.Main()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == guest.AgentArg {
		fmt.Fprintln(os.Stderr, "vm: agent:", guest.Agent(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(command(os.Args[1:]))
}

func command(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, usage)
		return exitMachine
	}
	var err error
	code := 0
	switch args[0] {
	case "run":
		code, err = run(args[1:])
	case "fetch":
		err = fetch()
	default:
		err = fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	var said alreadySaid
	if errors.As(err, &said) {
		return exitMachine
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		return exitMachine
	}
	return code
}

// alreadySaid is an error that was printed where it arose.
type alreadySaid struct{ error }

func fetch() error {
	k, err := vm.Fetch(context.Background(), say)
	if err != nil {
		return err
	}
	say("kernel " + k.Release + " is there")
	return nil
}

func say(text string) { fmt.Fprintln(os.Stderr, "vm:", text) }
