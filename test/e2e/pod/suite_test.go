package pod_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/leak"
)

// suite is one Root and State with its daemons up and busybox loaded.
type suite struct {
	t           *testing.T
	root, state string
	bin, runc   string
	env         []string
	uids        map[string]bool
	ownDaemons  bool
}

// shared is the suite of all tests that leave its daemons alone.
var shared *suite

// start gives the test the shared suite. When the test ends, its pods are
// removed by the command, and nothing of them may be left in the kernel.
func start(t *testing.T) *suite {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if shared == nil {
		shared = folders(t, "shared")
		shared.up()
	}
	s := *shared
	s.t = t
	s.watch()
	return &s
}

// own gives the test a suite of its own, which ends with it.
func own(t *testing.T, name string) *suite {
	t.Helper()
	s := folders(t, name)
	s.ownDaemons = true
	t.Cleanup(s.end)
	s.up()
	s.watch()
	return s
}

func folders(t *testing.T, name string) *suite {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := &suite{
		t: t, root: filepath.Join(testFolder, name), state: "/run/" + name,
		runc: built.Peer(t, "runc"), uids: map[string]bool{},
	}
	s.bin = built.Path(t, "varve")
	for _, name := range []string{"varve-overlay", "varve-csi", "varve-cni"} {
		built.Path(t, name)
	}
	return s
}

func (s *suite) up() {
	s.t.Helper()
	s.must("up")
	for _, a := range archives {
		s.must("image", "load", a)
	}
	// The bridge and the rules of the network stay with the node; a pod
	// before the first look makes them.
	s.apply(pod("warm", `{name: c, image: busybox, command: [sleep, "1000"], ports: [{containerPort: 1, hostPort: 1}]}`))
	s.must("pod", "rm", "-f", "warm")
}

func (s *suite) watch() {
	s.t.Helper()
	before, err := leak.Take(s.scope())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.checkLeaks(before) })
}

// end takes the daemons down.
func (s *suite) end() {
	s.t.Helper()
	s.must("down", "--force")
	if err := os.RemoveAll(s.root); err != nil {
		s.t.Error(err)
	}
}

func (s *suite) scope() leak.Scope {
	if s.ownDaemons {
		// They are started anew by the test, and are no leak.
		return leak.Scope{Paths: []string{s.root + "/runtime", s.state + "/runtime"}, OwnMounts: true, OwnNetwork: true}
	}
	return leak.Scope{Paths: []string{s.root, s.state}, OwnMounts: true, OwnNetwork: true}
}

// checkLeaks removes every pod, then looks at the kernel.
func (s *suite) checkLeaks(before leak.Snapshot) {
	s.t.Helper()
	s.must("pod", "rm", "-f", "--all")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	left, err := leak.Settle(ctx, before, s.scope())
	if err != nil {
		s.t.Error(err)
	}
	for _, item := range left {
		s.t.Errorf("leaked: %v", item)
	}
	for uid := range s.uids {
		for _, group := range cgroups(s.t, uid) {
			s.t.Errorf("leaked: cgroup %s", group)
		}
	}
	for _, dir := range []string{"pods", "netns", "oci"} {
		entries, err := os.ReadDir(filepath.Join(s.state, "runtime", dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Error(err)
		}
		for _, e := range entries {
			s.t.Errorf("leaked: %s/%s", dir, e.Name())
		}
	}
}

// cgroups finds the cgroups of a pod in every hierarchy.
func cgroups(t *testing.T, uid string) []string {
	t.Helper()
	found, err := filepath.Glob("/sys/fs/cgroup/varve-*/" + uid + "*")
	if err != nil {
		t.Fatal(err)
	}
	v1, err := filepath.Glob("/sys/fs/cgroup/*/varve-*/" + uid + "*")
	if err != nil {
		t.Fatal(err)
	}
	return append(found, v1...)
}

// result is what one command said.
type result struct {
	out, err string
	code     int
}

// varve runs a command.
func (s *suite) varve(stdin string, args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin, append([]string{
		"--root", s.root, "--state", s.state, "--oci-runtime", s.runc,
	}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), s.env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if ctx.Err() != nil {
		s.t.Fatalf("varve %s: no end within a minute\n%s%s", strings.Join(args, " "), out.String(), errOut.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and returns its output.
func (s *suite) must(args ...string) string {
	s.t.Helper()
	return s.mustIn("", args...)
}

func (s *suite) mustIn(stdin string, args ...string) string {
	s.t.Helper()
	r := s.varve(stdin, args...)
	if r.code != 0 {
		s.t.Fatalf("varve %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// apply runs a manifest and waits until its pods are ready or have ended.
func (s *suite) apply(manifest string, flags ...string) {
	s.t.Helper()
	r := s.varve(manifest, append(append([]string{"run", "--wait"}, flags...), "-")...)
	if r.code != 0 {
		s.t.Fatalf("varve run: exit %d\n%s%s\n%s", r.code, r.out, r.err, manifest)
	}
	for _, p := range s.list() {
		s.uids[p.Metadata.UID] = true
	}
}

// pod is a manifest of one pod; each container is a line of YAML, and a part
// that begins with "spec:" is put into the spec.
func pod(name string, parts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  terminationGracePeriodSeconds: 1\n", name)
	for _, p := range parts {
		if spec, ok := strings.CutPrefix(p, "spec:"); ok {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  "))
		}
	}
	b.WriteString("  containers:\n")
	for _, p := range parts {
		if !strings.HasPrefix(p, "spec:") {
			fmt.Fprintf(&b, "  - %s\n", p)
		}
	}
	return b.String()
}

// view is the part of `pod inspect` that the tests look at.
type view struct {
	Metadata struct{ Namespace, Name, UID string }
	Status   struct {
		Phase, Reason, Message string
		IPs                    []string
		Ready, Released        bool
		Containers             []container
	}
	LogFolder, NetNS string
	Supervisor       int
}

type container struct {
	Name, State, Reason, Message string
	Attempt, Pid                 int
	ExitCode                     *int
	Ready                        bool
}

func (s *suite) list() []view {
	s.t.Helper()
	var all []view
	if err := json.Unmarshal([]byte(s.must("pod", "ls", "-o", "json")), &all); err != nil {
		s.t.Fatal(err)
	}
	return all
}

func (s *suite) inspect(name string) view {
	s.t.Helper()
	var all []view
	if err := json.Unmarshal([]byte(s.must("pod", "inspect", name)), &all); err != nil {
		s.t.Fatal(err)
	}
	return all[0]
}

// eventually waits until a pod is as wanted.
func (s *suite) eventually(name, what string, is func(view) bool) view {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		v := s.inspect(name)
		if is(v) {
			return v
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("pod %s: not %s: %+v\n%s", name, what, v, s.varve("", "why", name).out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// exec runs a command in a pod's only container.
func (s *suite) exec(name string, args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(s.must(append([]string{"pod", "exec", name, "--"}, args...)...))
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("has no %q:\n%s", p, text)
		}
	}
}
