// Package containerd_test runs the real containerd with the drop-in that
// deploy/ ships, in a node of its own: images are unpacked and containers run
// on varve-overlay, and the reference runtime works on the same daemon beside
// it.
package containerd_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/test/bench/proc"
	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/images"
	"github.com/varve-project/varve/test/node"
)

// code is what the tests ended with, inside the node.
var code int

func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	code = node.Main("containerd", func(context.Context) error {
		if code = m.Run(); code != 0 {
			return fmt.Errorf("tests ended with %d", code)
		}
		return nil
	})
	// containerd puts containers below a cgroup of its namespace's name, and
	// leaves that.
	if err := node.RemoveCgroup(namespace); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// namespace is containerd's, of this test alone.
const namespace = "varve-test-containerd"

// machine is a containerd and a varve-overlay that serves it.
type machine struct {
	dir        string
	varve, ctr string
	path       string
	overlay    []string
	daemon     *proc.Daemon
}

const overlaySocket = "/run/varve/overlay.sock"

// newMachine starts both as a person would who followed the README, with the
// shipped drop-in; only the folders are the test's.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "ctd")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{dir: dir, varve: built.Path(t, "varve"), ctr: built.Peer(t, "ctr")}
	containerd := built.Peer(t, "containerd")
	// containerd looks for its shim and for runc in PATH.
	m.path = filepath.Dir(containerd) + ":" + os.Getenv("PATH")
	t.Setenv("PATH", m.path)
	t.Setenv("CONTAINERD_ADDRESS", "/run/containerd.sock")
	t.Setenv("CONTAINERD_NAMESPACE", namespace)
	m.overlay = []string{built.Path(t, "varve-overlay"), "--root", filepath.Join(dir, "overlay"), "--address", overlaySocket}
	m.start(t)
	d, err := proc.Start(t.Context(), filepath.Join(dir, "containerd.log"), "/run/containerd.sock", containerd, "--config", m.config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if err := m.daemon.Stop(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *machine) start(t *testing.T) {
	t.Helper()
	var err error
	m.daemon, err = proc.Start(t.Context(), filepath.Join(m.dir, "overlay.log"), overlaySocket, m.overlay...)
	if err != nil {
		t.Fatal(err)
	}
}

// config writes containerd's configuration: nothing but folders, and an import
// of the drop-in.
func (m *machine) config(t *testing.T) string {
	t.Helper()
	root, err := built.Root()
	if err != nil {
		t.Fatal(err)
	}
	dropIn, err := os.ReadFile(filepath.Join(root, "deploy/containerd/varve-overlay.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(dropIn), "/var/lib/varve/overlay", filepath.Join(m.dir, "overlay"))
	write(t, filepath.Join(m.dir, "conf.d", "varve-overlay.toml"), text)
	file := filepath.Join(m.dir, "config.toml")
	write(t, file, fmt.Sprintf(`version = 3
root = %q
state = "/run/containerd"
imports = [%q]
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/containerd.sock"
`, filepath.Join(m.dir, "containerd"), filepath.Join(m.dir, "conf.d", "*.toml")))
	return file
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run returns what a command printed to standard output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, said.String())
	}
	return string(out)
}

// image makes the small image and returns its archive.
func (m *machine) image(t *testing.T) string {
	t.Helper()
	archive, err := images.Busybox(t.Context(), m.dir)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

const name = "docker.io/library/busybox:latest"

// TestRun imports an image and runs a container of it, also after the daemon
// was killed and started again.
func TestRun(t *testing.T) {
	m := newMachine(t)
	run(t, m.ctr, "images", "import", m.image(t), "--snapshotter", "varve-overlay")
	hello := func(id string) {
		t.Helper()
		out := run(t, m.ctr, "run", "--rm", "--snapshotter", "varve-overlay", name, id, "sh", "-c", "echo hello >/f && cat /f")
		if out != "hello\n" {
			t.Errorf("the container said %q", out)
		}
	}
	hello("first")
	if err := m.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	m.start(t)
	hello("second")
	usage := run(t, m.ctr, "snapshots", "--snapshotter", "varve-overlay", "usage")
	if got := strings.Count(usage, "sha256:"); got != 2 {
		t.Errorf("usage lists %d layers, want 2 and no container's\n%s", got, usage)
	}
}

// TestTwoMasters lets containerd and the reference runtime share one daemon:
// what one collects is its own only.
func TestTwoMasters(t *testing.T) {
	m := newMachine(t)
	archive := m.image(t)
	varve := func(args ...string) string {
		t.Helper()
		return run(t, m.varve, append([]string{"--root", filepath.Join(m.dir, "varve"), "--state", "/run/varve"}, args...)...)
	}
	run(t, m.ctr, "images", "import", archive, "--snapshotter", "varve-overlay")
	varve("image", "load", archive)
	run(t, m.ctr, "images", "rm", "--sync", name)
	if left := run(t, m.ctr, "snapshots", "--snapshotter", "varve-overlay", "ls"); strings.Contains(left, "sha256:") {
		t.Errorf("containerd still has\n%s", left)
	}
	point := strings.TrimSpace(varve("image", "mount", "busybox"))
	if _, err := os.Stat(filepath.Join(point, "bin", "busybox")); err != nil {
		t.Errorf("the runtime's image after containerd's collection: %v", err)
	}
	varve("image", "unmount", "busybox")

	run(t, m.ctr, "images", "import", archive, "--snapshotter", "varve-overlay")
	varve("image", "rm", "busybox")
	varve("image", "prune", "--all")
	out := run(t, m.ctr, "run", "--rm", "--snapshotter", "varve-overlay", name, "after", "echo", "there")
	if out != "there\n" {
		t.Errorf("containerd's image after the runtime's collection: %q", out)
	}
}
