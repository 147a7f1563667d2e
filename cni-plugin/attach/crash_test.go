package attach_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/rules"
)

// heavy asks for everything that an ADD can make.
func heavy() map[string]any {
	return map[string]any{
		"portMappings": []any{map[string]any{"hostPort": 8080, "containerPort": 80}, map[string]any{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}},
		"bandwidth":    map[string]any{"ingressRate": 80_000_000, "ingressBurst": 800_000, "egressRate": 40_000_000, "egressBurst": 800_000},
	}
}

// points runs a call once and returns the failpoints that it passed, in order
// and each once.
func (n *network) points(command, id, netns string) []string {
	n.t.Helper()
	log := filepath.Join(n.t.TempDir(), "points")
	n.env = []string{"VARVE_FAILPOINT_LOG=" + log}
	defer func() { n.env = nil }()
	if out, err := n.call(command, id, netns, map[string]any{"runtimeConfig": heavy()}); err != nil {
		n.t.Fatalf("%s: %v: %s", command, err, out)
	}
	data, err := os.ReadFile(log)
	must(n.t, err)
	var list []string
	seen := map[string]bool{}
	for p := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
		if !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// killed runs a call that dies at a failpoint.
func (n *network) killed(command, id, netns, point string) {
	n.t.Helper()
	n.env = []string{"VARVE_FAILPOINT=" + point + "=kill"}
	defer func() { n.env = nil }()
	out, err := n.call(command, id, netns, map[string]any{"runtimeConfig": heavy()})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		n.t.Fatalf("%s was not killed at %s: %v: %s", command, point, err, out)
	}
}

func (n *network) works(command, id, netns string) {
	n.t.Helper()
	if out, err := n.call(command, id, netns, map[string]any{"runtimeConfig": heavy()}); err != nil {
		n.t.Errorf("%s: %v: %s", command, err, out)
	}
}

// Killed at any step of an ADD, the next DEL leaves nothing, and so does the
// next ADD of the same key followed by its DEL, and so does a GC: they take
// turns, and test/crash has more of them.
func TestKilledADD(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.container("p", nil)
	list := n.points("ADD", "p", p.ns.path)
	if len(list) < 14 {
		t.Fatalf("only %d failpoints in ADD: %v", len(list), list)
	}
	n.works("DEL", "p", p.ns.path)
	repairs := []string{"DEL", "ADD and DEL", "GC"}
	for i, point := range list {
		t.Run(point, func(t *testing.T) {
			n.t = t
			c, repair := n.container("c", nil), repairs[i%len(repairs)]
			n.killed("ADD", c.id, c.ns.path, point)
			switch repair {
			case "ADD and DEL":
				n.works("ADD", c.id, c.ns.path)
				n.works("DEL", c.id, c.ns.path)
			case "DEL":
				n.works("DEL", c.id, c.ns.path)
			case "GC":
				n.collects()
			}
			n.wantNothingStuck(repair)
		})
	}
}

// Killed at any step of a DEL, another DEL finishes it, or a GC.
func TestKilledDEL(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.container("p", nil)
	n.works("ADD", "p", p.ns.path)
	list := n.points("DEL", "p", p.ns.path)
	if len(list) < 10 {
		t.Fatalf("only %d failpoints in DEL: %v", len(list), list)
	}
	for i, point := range list {
		t.Run(point, func(t *testing.T) {
			n.t = t
			c := n.container("c", nil)
			n.works("ADD", c.id, c.ns.path)
			n.killed("DEL", c.id, c.ns.path, point)
			if i%2 == 0 {
				n.works("DEL", c.id, c.ns.path)
				n.wantNothingStuck("DEL")
				return
			}
			n.collects()
			n.wantNothingStuck("GC")
		})
	}
}

// collects runs a GC of a runtime that knows of no container.
func (n *network) collects() {
	n.t.Helper()
	if out, err := n.call("GC", "", "", map[string]any{"cni.dev/valid-attachments": []any{}}); err != nil {
		n.t.Errorf("GC: %v: %s", err, out)
	}
}

// wantNothingStuck is wantNothingLeft but for lock files of killed processes,
// which hold nothing and go with the next call on their key, or a GC.
func (n *network) wantNothingStuck(after string) {
	n.t.Helper()
	for _, line := range n.left() {
		if after == "GC" || !strings.HasPrefix(line, "locks ") {
			n.t.Errorf("after %s: %s", after, line)
		}
	}
}

// wantOnly is wantNothingStuck but for one container's.
func (n *network) wantOnly(id, after, what string) {
	n.t.Helper()
	keep := map[string]bool{}
	owner := n.name + "/" + id + "@eth0"
	t, err := rules.Open()
	must(n.t, err)
	defer t.Close()
	elements, err := t.Elements()
	must(n.t, err)
	for _, e := range elements {
		if e.Owner == owner {
			keep[fmt.Sprintf("element %s %s", e.Map, e.Addr)] = true
		}
	}
	l, err := ipam.View(n.dataDir, n.name, "").Get(ipam.Key{Network: n.name, ContainerID: id, IfName: "eth0"})
	must(n.t, err)
	keep["link vifb"+l.Hash()[:11]] = true
	keep["link "+l.Link.Name], keep["leases "+id+"@eth0"] = true, true
	for _, line := range n.left() {
		stuck := strings.HasPrefix(line, "locks ") && after != "GC" // goes with the next call on its key
		if !keep[line] && !stuck && !strings.HasSuffix(line, " "+id+"@eth0") {
			n.t.Errorf("%s: %s", what, line)
		}
	}
}
