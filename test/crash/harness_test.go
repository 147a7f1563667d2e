package crash_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-project/varve/test/crash"
	"github.com/varve-project/varve/test/leak"
)

// toyWorld drives testdata/toy, a part that is right or has a planted fault.
type toyWorld struct {
	bin, dir, fault string
	env             []string
	last            *os.ProcessState
}

func (w *toyWorld) Start(env ...string) error {
	w.env = env
	return w.run("repair")
}

func (w *toyWorld) Stop() error { return nil }

func (w *toyWorld) run(args ...string) error {
	_, err := w.output(args...)
	return err
}

func (w *toyWorld) output(args ...string) (string, error) {
	cmd := exec.Command(w.bin, append([]string{w.dir}, args...)...)
	cmd.Env = append(os.Environ(), append(w.env, "TOY_FAULT="+w.fault)...)
	out, err := cmd.CombinedOutput()
	w.last = cmd.ProcessState
	if err != nil {
		err = fmt.Errorf("toy %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (w *toyWorld) WaitKilled() error {
	if status := w.last.Sys().(syscall.WaitStatus); !status.Signaled() {
		return errors.New("nothing was killed")
	}
	return nil
}

func (w *toyWorld) Reconcile() error { return nil }

func (w *toyWorld) Empty() error {
	names, err := w.names()
	for _, name := range names {
		err = errors.Join(err, w.run("rm", name))
	}
	return err
}

func (w *toyWorld) names() ([]string, error) {
	out, err := w.output("ls")
	return strings.Fields(out), err
}

func (w *toyWorld) has(want ...string) error {
	names, err := w.names()
	for _, name := range want {
		if err == nil && !slices.Contains(names, name) {
			err = fmt.Errorf("%s is not among %q", name, names)
		}
	}
	return err
}

func (w *toyWorld) Disk() ([]string, error) { return crash.Tree(w.dir) }

func (w *toyWorld) Kernel() (leak.Snapshot, error) {
	return leak.Take(leak.Scope{Paths: []string{w.dir}})
}

// TestHarness plants faults and sees each found; the right toy passes.
func TestHarness(t *testing.T) {
	needRoot(t)
	bin := filepath.Join(t.TempDir(), "toy")
	if out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", bin, "./testdata/toy").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for fault, want := range map[string]string{
		"":             "",
		"effect-first": "left on the disk: toy/taken/new",
		"stuck":        "the call made again: toy put new",
		"loses":        "what was there before the call: old is not among",
		"silent":       "hit no failpoint",
	} {
		t.Run("fault="+fault, func(t *testing.T) {
			fresh := func(t testing.TB) *toyWorld {
				return &toyWorld{bin: bin, dir: filepath.Join(t.TempDir(), "toy"), fault: fault}
			}
			put := "put"
			if fault == "silent" {
				put = "silent"
			}
			old := func(w *toyWorld) error { return w.run("put", "old") }
			cases := []crash.Case[*toyWorld]{
				{
					Name: "put", Setup: old, Call: func(w *toyWorld) error { return w.run(put, "new") },
					Kept: func(w *toyWorld) error { return w.has("old") }, Done: func(w *toyWorld) error { return w.has("old", "new") },
				},
				{
					Name: "rm", Call: func(w *toyWorld) error { return w.run("rm", "new") },
					Setup: func(w *toyWorld) error { return errors.Join(old(w), w.run("put", "new")) },
					Kept:  func(w *toyWorld) error { return w.has("old") },
					Done:  func(*toyWorld) error { return nil },
				},
			}
			said := strings.Join(crash.Try(t, fresh, cases), "\n")
			if want == "" && said != "" || !strings.Contains(said, want) {
				t.Errorf("the harness says %q, want %q in it", said, want)
			}
		})
	}
}
