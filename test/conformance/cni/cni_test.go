package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/conformance/cni/suite"
)

// mainVariable makes this test binary the command itself.
const mainVariable = "CNI_CONFORMANCE_MAIN"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(faultVariable) != "" && os.Getenv("CNI_COMMAND") != "":
		lie()
	case os.Getenv(mainVariable) != "":
		main()
	}
	os.Exit(m.Run())
}

// conformance runs the command with these arguments and environment.
func conformance(t *testing.T, env []string, args ...string) ([]suite.Report, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command(os.Args[0], append(args, "-o", "json")...)
	cmd.Env = append(append(os.Environ(), mainVariable+"=1"), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, _ := cmd.Output()
	var reports []suite.Report
	if err := json.Unmarshal(out, &reports); err != nil {
		t.Fatalf("%v: %v: %s%s", args, err, out, stderr.String())
	}
	return reports, stderr.String()
}

// TestVarve: no failure, and no case that does not apply.
func TestVarve(t *testing.T) {
	t.Parallel()
	reports, _ := conformance(t, nil, "-plugin", built.Path(t, "varve-cni"), "-conf", "testdata/varve.conflist")
	for _, r := range reports {
		if r.Outcome != suite.Passed {
			t.Errorf("%s %s: %s", r.Case, r.Outcome, strings.Join(r.Text, "\n    "))
		}
	}
	if len(reports) != len(suite.Cases()) {
		t.Errorf("%d reports of %d cases", len(reports), len(suite.Cases()))
	}
}

// TestReference holds the reference chain's failures against the list that
// docs/cni-conformance.md gives, so that the list stays true.
func TestReference(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/cni-conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	reports, _ := conformance(t, nil, "-plugin", built.Peer(t, "cni/bridge"), "-conf", "testdata/reference.conflist")
	for _, r := range reports {
		if strings.HasPrefix(r.Case, "load/an ADD that is killed") {
			continue // it depends on when the signal meets the chain
		}
		listed := strings.Contains(string(text), "| `"+r.Case+"` |")
		if failed := r.Outcome == suite.Failed; failed != listed {
			t.Errorf("%s %s, and docs/cni-conformance.md lists it as a failure: %t\n    %s", r.Case, r.Outcome, listed, strings.Join(r.Text, "\n    "))
		}
	}
}

// planted is the fault by which each case must fail.
var planted = map[string]string{
	"version/lists what it supports":                                 "versions",
	"version/every version gets its own form":                        "form",
	"version/a version it does not know is refused":                  "any version",
	"input/a variable that is needed and missing":                    "wrong code",
	"input/a variable with an invalid value":                         "wrong code",
	"input/a verb that does not exist":                               "wrong code",
	"input/garbage on standard input":                                "wrong code",
	"input/a key of the wrong type":                                  "wrong code",
	"input/a network's name that is missing or invalid":              "wrong code",
	"input/a namespace that is none":                                 "leaks when it fails",
	"input/an error has the form of the version asked for":           "no version",
	"add/the result is what the kernel has":                          "other address",
	"add/an interface's name is the one asked for":                   "always eth0",
	"add/two pods reach each other":                                  "cuts off",
	"add/two interfaces of one container":                            "DEL of every interface",
	"add/a second ADD of what is attached is an error":               "ADD never fails",
	"add/an interface of that name that exists is an error":          "ADD never fails",
	"add/an ADD that failed keeps no address":                        "keeps an address when it fails",
	"add/arguments it does not know are ignored when asked to":       "strict arguments",
	"add/nothing but the result on standard output":                  "chatty",
	"add/after ADD and DEL comes ADD":                                "DEL leaks",
	"del/leaves nothing":                                             "DEL leaks",
	"del/again and again succeeds":                                   "DEL only once",
	"del/of what never was succeeds":                                 "DEL only once",
	"del/without the namespace frees everything":                     "DEL needs the namespace",
	"del/without prevResult frees everything":                        "DEL needs prevResult",
	"del/without its interface frees everything":                     "DEL leaks",
	"del/frees addresses":                                            "DEL keeps an address",
	"del/without the namespace frees addresses":                      "DEL keeps an address",
	"del/touches nobody else":                                        "DEL cuts others off",
	"del/a path that has a new owner keeps the new owner":            "DEL goes by the path",
	"check/of a sound attachment succeeds and changes nothing":       "CHECK fails",
	"check/finds an interface that is gone":                          "CHECK is blind",
	"check/finds an address that is gone":                            "CHECK is blind",
	"check/finds a route that is gone":                               "CHECK is blind",
	"check/without prevResult is an error":                           "CHECK is blind",
	"check/of what was deleted is an error":                          "CHECK is blind",
	"status/of a plug-in that is ready succeeds and changes nothing": "STATUS fails",
	"gc/frees what the list lacks, and nothing else":                 "GC does nothing",
	"gc/frees a pod whose namespace lives":                           "GC does nothing",
	"gc/frees addresses":                                             "GC keeps an address",
	"gc/a missing list frees nothing":                                "GC takes no list for an empty one",
	"gc/another network is not touched":                              "GC of every network",
	"gc/attachments that it does not know are fine":                  "GC knows all",
	"load/many pods at once":                                         "other address",
	"load/more pods than addresses":                                  "other address",
	"load/an ADD that is killed leaves nothing after its DEL":        "DEL only of what it remembers",
	"ports/a host port leads to the pod until its DEL":               "no host ports",
}

// TestPlanted: a case that no fault can fail proves nothing.
func TestPlanted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "varve-cni")); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range suite.Cases() {
		names = append(names, c.Name)
		fault := planted[c.Name]
		if fault == "" {
			t.Errorf("no fault is planted for %q", c.Name)
			continue
		}
		reports, log := conformance(t, []string{faultVariable + "=" + fault, realVariable + "=" + built.Path(t, "varve-cni")},
			"-plugin", filepath.Join(dir, "varve-cni"), "-conf", "testdata/varve.conflist", "-patience", "3s", "-case", c.Name)
		if len(reports) != 1 || reports[0].Outcome != suite.Failed {
			t.Errorf("%q with the fault %q: %+v %s; want a failure", c.Name, fault, reports, log)
		}
	}
	for name := range planted {
		if !slices.Contains(names, name) {
			t.Errorf("a fault is planted for %q, which is no case", name)
		}
	}
}

// TestMisuse: what is wrong is named, and nothing is run.
func TestMisuse(t *testing.T) {
	plugin := built.Path(t, "varve-cni")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"-plugin", nil},
		{"text or json", []string{"-o", "xml", "-plugin", plugin, "-conf", "testdata/varve.conflist"}},
		{"no such file", []string{"-plugin", plugin, "-conf", "testdata/absent"}},
		{"type \"bridge\"", []string{"-plugin", plugin, "-conf", "testdata/reference.conflist", "-path", filepath.Dir(built.Peer(t, "cni/bridge"))}},
		{"no case", []string{"-plugin", plugin, "-conf", "testdata/varve.conflist", "-case", "nonsense"}},
		{"unexpected", []string{"stray"}},
	} {
		cmd := exec.Command(os.Args[0], c.args...)
		cmd.Env = append(os.Environ(), mainVariable+"=1")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != misused || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: exit status %d, want %d and %q:\n%s", c.args, code, misused, c.want, out)
		}
	}
}
