package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// keep is the process a user started. It starts the node's init and waits; a
// signal is passed on, so that the program can clean up, and if this process
// is killed, the kernel kills the init, and the node with it.
func keep(hostname string) (int, error) {
	if os.Geteuid() != 0 {
		return 0, fmt.Errorf("make namespaces for the node %s: needs root; run it with sudo", hostname)
	}
	// The death signal follows the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return start("init", &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID,
		Pdeathsig: syscall.SIGKILL,
	})
}

// start runs this binary again as the next stage and tells it of SIGINT and
// SIGTERM, by SIGTERM. Ctrl-C on a terminal reaches all stages by itself as
// well; a stage that is told twice does nothing more.
func start(stage string, attr *syscall.SysProcAttr) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the node's %s: %w", stage, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-signals:
			_ = cmd.Process.Signal(syscall.SIGTERM)
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// exitCode is a shell's: 128 and the signal's number for a child that died
// of one.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	status := exit.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
