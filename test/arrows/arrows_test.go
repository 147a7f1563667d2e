package arrows

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// TestArrows holds the module's real imports against the rules, in the
// ordinary build and in the one with failpoints.
func TestArrows(t *testing.T) {
	for _, tags := range []string{"", "failpoint"} {
		g := load(t, tags)
		if len(g) < 50 {
			t.Fatalf("go list -tags=%q saw %d packages; that cannot be the whole module with what it links", tags, len(g))
		}
		for _, line := range Check(g, Rules) {
			t.Errorf("tags %q: %s", tags, line)
		}
	}
}

// TestRulesCanFail plants, for every rule, an import that it bans and sees it
// found, directly and, where the rule is deep, through another package.
func TestRulesCanFail(t *testing.T) {
	for _, r := range Rules {
		for _, to := range r.To {
			if banned(Rule{To: r.Except}, full(to)) {
				continue
			}
			from := full("cmd/varve")
			if r.From != "" {
				from = Module + "/" + r.From + "/x"
			}
			g := Graph{from: {"fmt", full(to) + "/y"}}
			if got := Check(g, []Rule{r}); len(got) != 1 {
				t.Errorf("%s importing %s: found %q, want one line", r.From, to, got)
			}
			g = Graph{from: {"z.org/between"}, "z.org/between": {full(to)}}
			if got := Check(g, []Rule{r}); (len(got) == 1) != r.Deep {
				t.Errorf("%s linking %s through another: found %q, deep is %v", r.From, to, got, r.Deep)
			}
		}
	}
}

// TestRulesAllow checks what must stay allowed.
func TestRulesAllow(t *testing.T) {
	g := Graph{
		full("csi-driver/volume/thin"): {full("devmapper/pool")},
		full("test/e2e"):               {full("test/leak"), full("overlay"), full("runtime/pod")},
		full("cmd/varve-overlay"):      {full("overlay"), full("snapshotter/server")},
		full("overlayed"):              {full("runtime")},
	}
	if got := Check(g, Rules); len(got) != 0 {
		t.Errorf("found %q, want nothing", got)
	}
}

// TestEveryRuleSaysWhy keeps the reasons beside the bans.
func TestEveryRuleSaysWhy(t *testing.T) {
	for _, r := range Rules {
		if len(r.Why) < 20 {
			t.Errorf("the rule for %q gives no reason", r.From)
		}
	}
}

// load asks the go command for every package of the module and all that they
// link.
func load(t *testing.T, tags string) Graph {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-tags="+tags, "-json=ImportPath,Imports", Module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	g := Graph{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(p.ImportPath, " ") {
			continue // a package's test variant
		}
		g[p.ImportPath] = p.Imports
	}
}
