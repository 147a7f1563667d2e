// Package built gives tests the programs that they drive: our own commands,
// built from the tree under test, and the peers.
//
// It owns the folder build/ under the repository's root and touches nothing
// else. Programs are never deleted by a test: the next run finds them built.
package built

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/varve-project/varve/internal/flock"
)

// Environment variables that name folders of programs built before, so that
// nothing is built during the tests (`make test` sets all three).
const (
	// BinVariable replaces what Path would build.
	BinVariable = "VARVE_BIN"
	// FailpointVariable replaces what Failpoint would build.
	FailpointVariable = "VARVE_BIN_FAILPOINT"
	// PeersVariable replaces bin/peers.
	PeersVariable = "VARVE_PEERS"
)

// Path returns the absolute path of our command NAME (cmd/NAME), built as it
// ships. It fails the test when that does not build.
func Path(t testing.TB, name string) string {
	t.Helper()
	return must(t, BinVariable, "bin", name)
}

// Failpoint is Path of a build with the tag "failpoint"; see
// internal/failpoint.
func Failpoint(t testing.TB, name string) string {
	t.Helper()
	return must(t, FailpointVariable, "failpoint", name)
}

// Peer returns the absolute path of a program of others, as `make peers`
// builds them: "containerd", "runc", "cni/bridge".
func Peer(t testing.TB, name string) string {
	t.Helper()
	dir, err := peers()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("peer %s: %v; run: make peers", name, err)
	}
	return path
}

func peers() (string, error) {
	if dir := os.Getenv(PeersVariable); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "bin", "peers"), nil
}

// Root returns the repository's root: the nearest folder above the working
// directory whose go.mod is that of the main module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/varve-project/varve\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod of varve above the working directory; run tests inside the repository")
		}
	}
}

func must(t testing.TB, variable, kind, name string) string {
	t.Helper()
	path, err := once(variable, kind, name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// programs remembers what this process has built: "bin/varve" → func.
var programs sync.Map

// once builds a program once per process.
func once(variable, kind, name string) (string, error) {
	build, _ := programs.LoadOrStore(kind+"/"+name, sync.OnceValues(func() (string, error) {
		return provide(variable, kind, name)
	}))
	return build.(func() (string, error))()
}

func provide(variable, kind, name string) (string, error) {
	if dir := os.Getenv(variable); dir != "" {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s=%s: %w; build it there, or unset %s", variable, dir, err, variable)
		}
		return path, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	return build(root, kind, name)
}

// build runs `go build` under a lock between the processes of one `go test`.
// The go command leaves a program alone that is up to date.
func build(root, kind, name string) (string, error) {
	dir := filepath.Join(root, "build", kind)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := flock.Acquire(filepath.Join(root, "build", "lock"))
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Release() }()

	path := filepath.Join(dir, name)
	args := []string{"build", "-buildvcs=false", "-o", path}
	if kind == "failpoint" {
		args = append(args, "-tags=failpoint")
	}
	cmd := exec.Command("go", append(args, "./cmd/"+name)...)
	cmd.Dir = root
	// With its temporary folder on the same file system the go command
	// renames the new program into place, so that a running old one stays
	// whole.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	return path, nil
}
