package attach_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cost is what a call asks of the kernel, as strace sees it.
type cost struct {
	Execs, Children, Requests, Syncs int
}

var (
	child   = regexp.MustCompile(`(?m) (v?fork|clone3?)\(.*$`)
	request = regexp.MustCompile(`(?m) send(to|msg)\(\d+<NETLINK`)
	syncing = regexp.MustCompile(`(?m) (fsync|fdatasync|sync|syncfs)\(`)
)

// cost makes a call under strace. A request is one message to the kernel and
// its answer: a round trip.
func (n *network) cost(command string, p *attachment) cost {
	n.t.Helper()
	log := filepath.Join(n.t.TempDir(), "log")
	conf := map[string]any{"cniVersion": "1.1.0", "name": n.name}
	for k, v := range n.conf {
		conf[k] = v
	}
	conf["runtimeConfig"] = p.caps
	data, err := json.Marshal(conf)
	must(n.t, err)
	cmd := exec.Command("strace", "-f", "-yy", "-o", log, "-e", "trace=execve,execveat,fork,vfork,clone,clone3,sendto,sendmsg,fsync,fdatasync,sync,syncfs", binary)
	cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.id, "CNI_NETNS=" + p.ns.path, "CNI_IFNAME=eth0", "CNI_PATH=" + pluginDir}
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.Output(); err != nil {
		n.t.Fatalf("%s: %v: %s", command, err, out)
	}
	text, err := os.ReadFile(log)
	must(n.t, err)
	c := cost{Execs: strings.Count(string(text), " execve"), Requests: len(request.FindAll(text, -1)), Syncs: len(syncing.FindAll(text, -1))}
	for _, line := range child.FindAllString(string(text), -1) {
		if !strings.Contains(line, "CLONE_THREAD") && !strings.Contains(line, "resumed") {
			c.Children++
		}
	}
	return c
}

// full asks for both families, masquerade, two host ports and limits both ways.
func full() map[string]any {
	caps := heavy()
	caps["portMappings"] = []any{map[string]any{"hostPort": 8080, "containerPort": 80}, map[string]any{"hostPort": 8443, "containerPort": 443}}
	return caps
}

// What a call costs is a number that does not depend on the machine, nor on
// how many rules others have.
func TestCosts(t *testing.T) {
	n := newNetwork(t, nil)
	n.pod("first", nil) // makes bridge and table
	p := n.container("p", full())
	want := map[string]cost{
		"ADD": {Execs: 1, Requests: 25, Syncs: 2},
		"DEL": {Execs: 1, Requests: 6},
	}
	costs := func() map[string]cost {
		return map[string]cost{"ADD": n.cost("ADD", p), "DEL": n.cost("DEL", p)}
	}
	alone := costs()
	for call := range want {
		if alone[call] != want[call] {
			t.Errorf("%s costs %+v, want %+v", call, alone[call], want[call])
		}
	}
	manyRules(t, 100_000)
	if crowded := costs(); fmt.Sprint(crowded) != fmt.Sprint(alone) {
		t.Errorf("among 100,000 rules of others %+v, alone %+v", crowded, alone)
	}
}

// manyRules loads a foreign table with this many rules, and as many elements.
func manyRules(t *testing.T, count int) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("table inet crowd { set s { type ipv4_addr; elements = { ")
	for i := range count {
		fmt.Fprintf(&b, "100.%d.%d.%d,", i>>16, i>>8&255, i&255)
	}
	b.WriteString("} }\n")
	const chains = 100
	for c := range chains {
		fmt.Fprintf(&b, "chain c%d {\n", c)
		for i := range count / chains {
			fmt.Fprintf(&b, "tcp dport %d accept\n", i)
		}
		b.WriteString("}\n")
	}
	b.WriteString("}\n")
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	t.Cleanup(func() { run(t, "nft delete table inet crowd") })
}
