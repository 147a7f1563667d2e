// Package guest is what runs inside the virtual machine: process 1, which
// makes the root and reaps orphans, and the agent, which runs commands.
//
// Both are the program bin/vm itself, copied into the initramfs, so that the
// guest needs no image, no shell and no init of a distribution. Nothing of it
// is meant for a machine that people use.
package guest

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/wire"
)

// Init is the path of the program in the initramfs, by which main knows that
// it runs as process 1 of a guest.
const Init = "/init"

// AgentArg is the argument that makes the program the agent.
const AgentArg = "guest-agent"

// ModuleList is the file of the initramfs that names the modules to load, one
// path a line, each after those that it needs.
const ModuleList = "/modules"

// portFD is where the agent inherits the port.
const portFD = 3

// Main is process 1. It returns only to end the machine: what it could not do
// is on the console then.
func Main() {
	err := initialise()
	fmt.Fprintln(os.Stderr, "vm: process 1 ends:", err)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func initialise() error {
	if err := early(); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	conn := wire.NewConn(port)
	if err := conn.SendJSON(wire.TypeHello, 0, wire.Hello{Version: wire.Version}); err != nil {
		return err
	}
	frame, err := conn.Receive()
	if err != nil {
		return fmt.Errorf("waiting for the set-up: %w", err)
	}
	var setup wire.Setup
	if err := frame.Decode(&setup); err != nil {
		return err
	}
	if err := prepare(setup); err != nil {
		_ = conn.SendJSON(wire.TypeReady, 0, wire.Ready{Error: err.Error()})
		return err
	}
	return serve(port, setup)
}

// serve starts the agent and reaps whatever becomes an orphan until the agent
// ends. They are two processes because one that waits for any child would
// steal the exit status of those that the agent waits for by name.
func serve(port *os.File, setup wire.Setup) error {
	args := []string{AgentArg}
	for _, share := range setup.Shares {
		args = append(args, share.Path)
	}
	agent := exec.Command("/proc/self/exe", args...)
	agent.ExtraFiles = []*os.File{port}
	agent.Stderr = os.Stderr
	agent.Stdout = os.Stderr
	if err := agent.Start(); err != nil {
		return fmt.Errorf("starting the agent: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for children: %w", err)
		case pid == agent.Process.Pid:
			return fmt.Errorf("the agent ended with status %#x", uint32(status))
		}
	}
}
