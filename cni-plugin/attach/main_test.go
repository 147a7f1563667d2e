package attach_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests that touch the kernel run in a network and mount namespace of
// their own, which the test binary enters by starting itself again: so no test
// can change the machine, and all of them may be killed at any time.

const inside = "VARVE_TEST_INSIDE"

// binary is the plug-in built with failpoints, pluginDir its folder.
var binary, pluginDir string

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	code, err := prepared(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the tests:", err)
		code = 1
	}
	os.Exit(code)
}

// again runs the same tests in namespaces of their own.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func prepared(m *testing.M) (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "varve-cni-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	pluginDir, binary = dir, filepath.Join(dir, "varve-cni")
	build := exec.Command("go", "build", "-tags", "failpoint", "-o", binary, "github.com/varve-project/varve/cmd/varve-cni")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return 1, fmt.Errorf("build varve-cni: %w", err)
	}
	if err := linkUp("lo"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
