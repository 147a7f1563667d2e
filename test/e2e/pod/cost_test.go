package pod_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// cost is what a command and everything it started did, in order: programs
// executed, and waits for the disk. Unlike time it is the same on every
// machine. What the daemons do for the command is not in it.
type cost struct {
	execs, syncs []string
	// before has the number of syncs that went before each exec.
	before []int
}

var (
	execLine = regexp.MustCompile(`execve(?:at)?\(.*?\[(".*?")\]`)
	syncLine = regexp.MustCompile(`(?:fsync|fdatasync|syncfs)\(\d+<([^>]*)>|\bsync\(`)
	verbs    = []string{"run", "supervise", "init", "delete", "rm", "create", "start", "exec", "state", "kill"}
)

// trace runs a varve command under strace and waits until all that it started
// has ended, its supervisor too.
func (s *suite) trace(stdin string, args ...string) cost {
	s.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		s.t.Fatalf("%v; install the package strace", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	file := filepath.Join(s.t.TempDir(), "trace")
	cmd := exec.CommandContext(ctx, strace, append([]string{
		"-f", "-qq", "-y", "-s", "300", "-e", "signal=none", "-e", "trace=execve,execveat,fsync,fdatasync,sync,syncfs", "-o", file,
		s.bin, "--root", s.root, "--state", s.state, "--oci-runtime", s.runc,
	}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("strace varve %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("strace varve %s:\n%s", strings.Join(args, " "), data)
		}
	})
	var c cost
	for line := range bytes.Lines(data) {
		c.add(string(line))
	}
	return c
}

func (c *cost) add(line string) {
	if m := execLine.FindStringSubmatch(line); m != nil && !strings.Contains(line, " = -1 ") {
		words := strings.Split(strings.ReplaceAll(m[1], `"`, ""), ", ")
		name := filepath.Base(words[0])
		if i := slices.IndexFunc(words, func(w string) bool { return slices.Contains(verbs, w) }); i > 0 {
			name += " " + words[i]
		}
		c.execs, c.before = append(c.execs, name), append(c.before, len(c.syncs))
	}
	if m := syncLine.FindStringSubmatch(line); m != nil {
		c.syncs = append(c.syncs, m[1])
	}
}

// unordered sorts a run of programs that are started at the same time.
func (c *cost) unordered(names ...string) {
	for i := range c.execs {
		if n := min(i+len(names), len(c.execs)); slices.Contains(names, c.execs[i]) {
			slices.Sort(c.execs[i:n])
			return
		}
	}
}

// want compares the executed programs one by one, and the waits for the disk
// by their number.
func (c cost) want(t *testing.T, what string, syncs int, execs ...string) {
	t.Helper()
	if !slices.Equal(c.execs, execs) {
		t.Errorf("%s: executed %q; want %q", what, c.execs, execs)
	}
	if len(c.syncs) != syncs {
		t.Errorf("%s: %d waits for the disk; want %d:\n%s", what, len(c.syncs), syncs, strings.Join(c.syncs, "\n"))
	}
}

// TestCostOfAPod counts what the life of a warm pod of one container costs.
func TestCostOfAPod(t *testing.T) {
	s := start(t)
	manifest := pod("cost", "spec: restartPolicy: Never", "{name: c, image: busybox, command: [/bin/true]}")
	life := s.trace(manifest, "run", "-")
	for _, p := range s.list() {
		s.uids[p.Metadata.UID] = true
	}

	// The record waits thrice: its text, its name in the new folder, and the
	// folder's name. The plug-in's lease waits twice: its text and its name.
	// Then how the pod ended: text and name. All else is in folders that a
	// reboot clears, or is made good by the next start.
	if i := slices.Index(life.execs, "true"); i >= 0 && life.before[i] != 3+2 {
		t.Errorf("%d waits for the disk before the first process; want 5", life.before[i])
	}
	// The container is made while the pod joins its network, which costs the
	// exec of a second command of runc; they come in any order.
	life.unordered("varve-cni", "runc create", "runc init")
	life.want(t, "run to the end", 3+2+2,
		"varve run", "varve supervise", "runc create", "runc init", "varve-cni", "runc start", "true",
		"runc delete", "varve-cni")

	// What is wanted, how it ended (text and name each), and the record's
	// removal. Everything else was released when the pod ended.
	s.trace("", "pod", "rm", "-f", "cost").want(t, "rm -f of an ended pod", 2+2+1, "varve rm")

	// A running one is removed by its supervisor; the command only waits.
	s.apply(pod("cost", `{name: c, image: busybox, command: [sleep, "1000"]}`))
	s.trace("", "pod", "rm", "-f", "cost").want(t, "rm -f of a running pod", 2, "varve rm")
	if s.varve("", "pod", "inspect", "cost").code == 0 {
		t.Error("the pod is there after rm -f")
	}
}
