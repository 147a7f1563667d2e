package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/images"
)

// varve makes a command line of the runtime over the node's store.
func (n *node) varve(bin string, args ...string) *exec.Cmd {
	all := append([]string{"--root", n.dir, "--state", n.dir, "--snapshotter", n.options.Snapshotter, "--snapshotter-address", n.options.Address}, args...)
	return exec.Command(bin, all...)
}

// newCLINode is a node whose store is where the command line keeps it. It is
// in memory: a SIGKILL leaves the page cache alone, and a disk would only make
// the syncs slow.
func newCLINode(t *testing.T) *node {
	n := newNodeIn(t, "/run")
	n.options.Root = filepath.Join(n.dir, "runtime", "images")
	return n
}

// point is the nth time that a failpoint is hit.
type point struct {
	name string
	nth  int
}

// points runs a command with a log of failpoints and picks from it: of each
// name the first, one in the middle and the last.
func points(t *testing.T, cmd *exec.Cmd) []point {
	t.Helper()
	log := filepath.Join(t.TempDir(), "points")
	cmd.Env = append(os.Environ(), "VARVE_FAILPOINT_LOG="+log)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	hits := map[string]int{}
	var names []string
	for _, name := range strings.Fields(string(data)) {
		if hits[name]++; hits[name] == 1 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatalf("%v has no failpoint", cmd)
	}
	var all []point
	for _, name := range names {
		for _, nth := range slices.Compact([]int{1, (hits[name] + 1) / 2, hits[name]}) {
			all = append(all, point{name, nth})
		}
	}
	return all
}

func (p point) kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = append(os.Environ(), fmt.Sprintf("VARVE_FAILPOINT=%s=kill@%d", p.name, p.nth))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return
	}
	// How often a point is hit may differ by one between runs of parallel
	// layers; a command that was not hit must have succeeded.
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out.String())
	}
}

// Killed at any effect of loading, the next load works, the image is whole,
// and when it is removed nothing is left.
func TestKillDuringLoad(t *testing.T) {
	n, bin := newCLINode(t), built.Failpoint(t, "varve")
	s, ctx, path := n.open(t), context.Background(), archive(t, layered("example.org/layered:1", images.Gzip))
	all := points(t, n.varve(bin, "image", "load", path))
	if err := s.Remove(ctx, "example.org/layered:1"); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d points", len(all))
	for _, p := range all {
		p.kill(t, n.varve(bin, "image", "load", path))
		img := load(t, s, path)
		checkLayered(t, s, img)
		if err := s.Remove(ctx, img.Name); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		nothingLeft(t, n)
		if t.Failed() {
			t.Fatalf("after %+v", p)
		}
	}
}

// Killed at any effect of a removal, the removal can be repeated, or prune
// finishes it.
func TestKillDuringRemove(t *testing.T) {
	n, bin := newCLINode(t), built.Failpoint(t, "varve")
	s, path := n.open(t), archive(t, layered("example.org/layered:1", images.Gzip))
	load(t, s, path)
	for _, p := range points(t, n.varve(bin, "image", "rm", "example.org/layered:1")) {
		load(t, s, path)
		p.kill(t, n.varve(bin, "image", "rm", "example.org/layered:1"))
		for _, args := range [][]string{{"image", "prune", "--all"}, {"image", "prune"}} {
			if out, err := n.varve(bin, args...).CombinedOutput(); err != nil {
				t.Fatalf("%+v: %v: %v\n%s", p, args, err, out)
			}
		}
		nothingLeft(t, n)
		if t.Failed() {
			t.Fatalf("after %+v", p)
		}
	}
}

// Killed at any effect of a mount or unmount, unmount undoes what there is.
func TestKillDuringMount(t *testing.T) {
	n, bin := newCLINode(t), built.Failpoint(t, "varve")
	s, ctx := n.open(t), context.Background()
	load(t, s, archive(t, layered("example.org/layered:1", images.Gzip)))
	at := filepath.Join(t.TempDir(), "at")
	clean := func(p any) {
		t.Helper()
		records, err := s.Mounted(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range records {
			if err := s.Unmount(ctx, m.Path); err != nil {
				t.Fatalf("after %+v: %v", p, err)
			}
		}
		snapshots, err := s.Snapshots(ctx)
		if err != nil || len(snapshots) > 0 {
			t.Fatalf("after %+v: snapshots %+v, %v", p, snapshots, err)
		}
		if table, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(table), at) {
			t.Fatalf("after %+v: still mounted", p)
		}
		if _, err := os.Stat(at); !os.IsNotExist(err) {
			t.Fatalf("after %+v: the folder that was made is there (%v)", p, err)
		}
	}
	mount := []string{"image", "mount", "example.org/layered:1", at}
	for _, p := range points(t, n.varve(bin, mount...)) {
		clean("setting up")
		p.kill(t, n.varve(bin, mount...))
		if out, err := n.varve(bin, mount...).CombinedOutput(); err != nil {
			t.Fatalf("after %+v: mount again: %v\n%s", p, err, out)
		}
		clean(p)
		p.kill(t, n.varve(bin, mount...))
		clean(p)
	}
	if out, err := n.varve(bin, mount...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range points(t, n.varve(bin, "image", "unmount", at)) {
		if out, err := n.varve(bin, mount...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		p.kill(t, n.varve(bin, "image", "unmount", at))
		clean(p)
	}
}
