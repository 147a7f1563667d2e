package vm_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varve-project/varve/test/vm"
)

// program is bin/vm, built from the tree under test.
var program string

// share is the shared machine's writable folder.
var share string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vm-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, share = filepath.Join(dir, "vm"), filepath.Join(dir, "share")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./cmd/vm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	if err := os.Mkdir(share, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if machine, err := common(); err == nil {
			machine.Close()
		}
	}()
	return m.Run()
}

// limit bounds one test's commands.
const limit = 3 * time.Minute

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// common is the machine of the tests that leave it as it is: a boot takes
// seconds under emulation.
var common = sync.OnceValues(func() (*vm.Machine, error) {
	return vm.Boot(context.Background(), vm.Options{
		Program: program, Memory: 1 << 30, Shares: []string{share},
		Disks: []vm.Disk{{Size: 64 << 20}, {Size: 96 << 20}},
	})
})

func machine(t *testing.T) *vm.Machine {
	t.Helper()
	m, err := common()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func boot(t *testing.T, o vm.Options) *vm.Machine {
	t.Helper()
	o.Program = program
	if o.Memory == 0 {
		o.Memory = 1 << 30
	}
	m, err := vm.Boot(within(t, limit), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// sh runs a script and wants it to succeed; it returns standard output.
func sh(t *testing.T, m *vm.Machine, script string) string {
	t.Helper()
	var out, errs bytes.Buffer
	exit, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"sh", "-euc", script}, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	if exit.Err() != nil {
		t.Fatalf("%s: %v\n%s%s", script, exit.Err(), out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

// equal reports what differs from what was wanted.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
