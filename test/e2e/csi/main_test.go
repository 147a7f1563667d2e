package csi_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// The tests run in a mount namespace of their own. A process that copies the
// host's while a volume is mounted would keep its device busy.
func TestMain(m *testing.M) {
	const inside = "VARVE_TEST_PRIVATE"
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
