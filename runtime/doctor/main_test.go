package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/doctor"
	"github.com/varve-project/varve/test/node"
)

// lookEnv makes the test binary look at a node once and print what it found,
// for faults that can only be put under a process of its own.
const lookEnv = "VARVE_TEST_DOCTOR_LOOK"

// TestMain runs the tests on a node of their own, so that what they break is
// nobody else's.
func TestMain(m *testing.M) {
	if text := os.Getenv(lookEnv); text != "" {
		os.Exit(look(text))
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	os.Exit(node.Main("doctor", func(context.Context) error {
		if err := privateEtc(); err != nil {
			return err
		}
		code := m.Run()
		if code == 0 && whole() {
			code = neverFound()
		}
		if code != 0 {
			return errors.New("tests failed")
		}
		return nil
	}))
}

// privateEtc lays a folder of memory over /etc.
func privateEtc() error {
	const base = "/run/etc"
	for _, dir := range []string{"upper", "work"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			return err
		}
	}
	return unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+base+"/upper,workdir="+base+"/work")
}

// seen collects the ids that any test found.
var seen sync.Map

func whole() bool {
	flag.Parse()
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return true
}

// neverFound fails the run when there is a definition that no test has seen
// found by its fault.
func neverFound() int {
	code := 0
	for _, d := range doctor.Definitions() {
		if _, ok := seen.Load(d.ID); !ok {
			fmt.Printf("--- FAIL: no test injects the fault behind %s\n", d.ID)
			code = 1
		}
	}
	return code
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// suite is the configuration of a suite of the test's own, with its folders.
func suite(t *testing.T) config.Config {
	t.Helper()
	needRoot(t)
	c := config.Default()
	dir, err := os.MkdirTemp("", "doctor") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.Root, c.State = filepath.Join(dir, "root"), filepath.Join(dir, "state")
	for _, path := range []string{c.RuntimeRoot(), c.RuntimeState()} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func run(t *testing.T, c config.Config) finding.List {
	t.Helper()
	list, err := doctor.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// runLeft is run for a cleanup, when the test's own context has ended.
func find(list finding.List, id, object string) (finding.Finding, bool) {
	for _, f := range list {
		if f.ID == id && (object == "" || f.Object == object) {
			return f, true
		}
	}
	return finding.Finding{}, false
}

// want looks at the node and returns the finding that must be there. An empty
// object matches any.
func want(t *testing.T, c config.Config, id, object string) finding.Finding {
	t.Helper()
	return wantIn(t, run(t, c), id, object)
}

func wantIn(t *testing.T, list finding.List, id, object string) finding.Finding {
	t.Helper()
	f, ok := find(list, id, object)
	if !ok {
		var text strings.Builder
		_ = list.WriteText(&text)
		t.Fatalf("%s %s was not found; found\n%s", id, object, text.String())
	}
	seen.Store(id, true)
	for _, text := range []string{f.Text, f.Meaning, f.Remedy, f.Command} {
		if strings.Contains(strings.ReplaceAll(text, "rmdir {} +", ""), "{") {
			t.Errorf("%s: a placeholder is left in %q", id, text)
		}
	}
	return f
}

func absent(t *testing.T, c config.Config, id, object string) {
	t.Helper()
	if f, ok := find(run(t, c), id, object); ok {
		t.Fatalf("%s %s was found: %s", id, f.Object, f.Text)
	}
}

// mend runs the command of a finding as a person would, and looks again.
func mend(t *testing.T, c config.Config, f finding.Finding) {
	t.Helper()
	out, err := exec.Command("sh", "-c", f.Command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %s: %v: %s", f.ID, f.Command, err, out)
	}
	absent(t, c, f.ID, f.Object)
}

// look is the other process: it prints what it finds on the node that the
// JSON of a configuration describes, after breaking itself as it is told.
func look(text string) int {
	var c config.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := breakSelf(os.Getenv(lookEnv + "_BREAK")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	list, err := doctor.Run(context.Background(), c)
	if err == nil {
		err = list.WriteJSON(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// lookFrom runs look in another process, which change prepares.
func lookFrom(t *testing.T, c config.Config, breakage string, change func(*exec.Cmd)) finding.List {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), lookEnv+"="+string(text), lookEnv+"_BREAK="+breakage)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if change != nil {
		change(cmd)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, stderr.String())
	}
	var list finding.List
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return list
}
