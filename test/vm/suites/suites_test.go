package suites

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/varve-project/varve/test/built"
)

// TestTable: a row that names what is not there would pass by running nothing.
func TestTable(t *testing.T) {
	root, err := built.Root()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, s := range All {
		for _, pkg := range s.Packages {
			if rows[s.Name+pkg] {
				t.Errorf("suite %q has %s twice; tally could not tell them apart", s.Name, pkg)
			}
			rows[s.Name+pkg] = true
		}
		if s.Timeout <= 0 {
			t.Errorf("suite %s has no timeout", s.Name)
		}
		for _, pkg := range s.Packages {
			if !tested(t, filepath.Join(root, strings.TrimSuffix(pkg, "...")), s.Tests) {
				t.Errorf("suite %s: no test of %s matches %q", s.Name, pkg, s.Tests)
			}
		}
	}
}

// tested says whether a folder, or one below it, has a test that pattern picks.
func tested(t *testing.T, dir, pattern string) bool {
	t.Helper()
	var found bool
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			found = found || regexp.MustCompile(strings.SplitN(pattern, "/", 2)[0]).Match(match[1])
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func TestLabelled(t *testing.T) {
	s := Suite{Name: "quota"}
	for in, want := range map[string]string{
		`{"Action":"pass","Package":"p","Test":"T"}` + "\n": `{"Action":"pass","Package":"p (vm: quota)","Test":"T"}` + "\n",
		"panic: x\n":                             "panic: x\n",
		`{"Action":"build-output","Output":"x"}`: `{"Action":"build-output","Output":"x"}`,
	} {
		if got := string(s.labelled([]byte(in))); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

// TestUnknownSuite runs the command as make does.
func TestUnknownSuite(t *testing.T) {
	out, err := exec.Command("go", "run", "../cmd/suites", "no-such").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `no suite "no-such"; there are: `) {
		t.Errorf("%v\n%s", err, out)
	}
}
