package attach_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/internal/finding"
)

type libcniGC = libcni.GCArgs

func deleteTable(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("nft", "delete", "table", "inet", "varve").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestEveryVersionGetsItsOwnForm(t *testing.T) {
	n := newNetwork(t, nil)
	for _, v := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		id := "p" + strings.ReplaceAll(v, ".", "-")
		p := n.container(id, nil)
		out, err := n.call("ADD", id, p.ns.path, map[string]any{"cniVersion": v})
		if err != nil {
			t.Fatalf("%s: %v: %s", v, err, out)
		}
		var res struct {
			CNIVersion string
			IPs        []struct{ Version string }
		}
		must(t, json.Unmarshal(out, &res))
		if old := v < "1.0.0"; res.CNIVersion != v || len(res.IPs) != 2 || old != (res.IPs[0].Version != "") {
			t.Errorf("%s: %s", v, out)
		}
		if out, err := n.call("DEL", id, p.ns.path, map[string]any{"cniVersion": v}); err != nil {
			t.Fatalf("%s: %v: %s", v, err, out)
		}
	}
	out, err := n.call("ADD", "p", n.container("p", nil).ns.path, map[string]any{"cniVersion": "0.2.0"})
	wantCode(t, out, err, types.ErrIncompatibleCNIVersion, "")
	n.wantNothingLeft()
}

func TestPrevResultIsHandedOn(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.container("p", nil)
	prev := map[string]any{"cniVersion": "1.1.0", "interfaces": []any{map[string]any{"name": "foreign0"}},
		"ips": []any{map[string]any{"address": "203.0.113.7/24", "interface": 0}}}
	out, err := n.call("ADD", "p", p.ns.path, map[string]any{"prevResult": prev})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var res struct {
		Interfaces []struct{ Name string }
		IPs        []struct {
			Address   string
			Interface int
		}
	}
	must(t, json.Unmarshal(out, &res))
	if len(res.Interfaces) != 4 || res.Interfaces[0].Name != "foreign0" || len(res.IPs) != 3 ||
		res.IPs[0].Address != "203.0.113.7/24" || res.Interfaces[res.IPs[1].Interface].Name != "eth0" {
		t.Errorf("%s", out)
	}
	must(t, p.del())
	n.wantNothingLeft()
}

func TestNamespaceThatIsNone(t *testing.T) {
	n := newNetwork(t, nil)
	for _, path := range []string{"/nonexistent", "/etc/passwd", "/proc/self/ns/net"} {
		out, err := n.call("ADD", "p", path, nil)
		wantCode(t, out, err, types.ErrInvalidNetNS, path)
	}
	n.wantNothingLeft()
}

// The plug-in starts no process and is quick to start: what it links is held
// here, with the reason.
func TestLinksNothingHeavy(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/varve-project/varve/cmd/varve-cni").Output()
	must(t, err)
	deps := strings.Fields(string(out))
	for ban, why := range map[string]string{
		"google.golang.org/grpc":                 "its start costs more than the whole ADD",
		"github.com/spf13/cobra":                 "its start costs more than the whole ADD",
		"github.com/prometheus/client_golang":    "a process that lives 4 ms has no metrics",
		"github.com/containerd/containerd":       "the plug-in serves any runtime",
		"k8s.io/client-go":                       "the daemon talks to Kubernetes",
		"go.etcd.io":                             "the daemon talks to etcd",
		"github.com/coreos/go-iptables":          "it starts processes",
		"sigs.k8s.io/knftables":                  "it starts processes",
		"github.com/containernetworking/plugins": "the reference plug-ins are the peer, not a part",
	} {
		for _, d := range deps {
			if strings.HasPrefix(d, ban) {
				t.Errorf("links %s: %s", d, why)
			}
		}
	}
	wantGolden(t, deps)
	// cni-plugin/firewall may: iptables-legacy has no other way in.
	for _, f := range []string{"../attach", "../ipam", "../link", "../rules", "../../cmd/varve-cni"} {
		out, err := exec.Command("go", "list", "-f", "{{join .Imports \" \"}}", f).Output()
		must(t, err)
		if slices.Contains(strings.Fields(string(out)), "os/exec") {
			t.Errorf("%s imports os/exec: nothing here starts a process", f)
		}
	}
}

// wantGolden compares the packages that are not Go's own with the list that
// was agreed upon.
func wantGolden(t *testing.T, deps []string) {
	t.Helper()
	const file = "testdata/links.golden"
	var out []string
	for _, d := range deps {
		if first, _, _ := strings.Cut(d, "/"); strings.Contains(first, ".") {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	got := strings.Join(out, "\n") + "\n"
	want, err := os.ReadFile(file)
	must(t, err)
	if got != string(want) {
		t.Errorf("varve-cni links other packages than %s lists; if each is worth its start-up, write this there:\n%s", file, got)
	}
}

func TestDoctorExplainsEachLease(t *testing.T) {
	n := newNetwork(t, nil)
	p, dead := n.pod("p", nil), n.pod("dead", ports(`{"hostPort":8080,"containerPort":80}`))
	n.deleteLink(dead)
	list := n.doctor()
	want := map[string]string{"cni.lease.alive": "test/p@eth0", "cni.lease.dead": "test/dead@eth0"}
	for _, f := range list {
		if want[f.ID] == f.Object {
			delete(want, f.ID)
		}
	}
	if len(want) > 0 {
		t.Errorf("doctor does not say %v: %v", want, list)
	}
	out, err := exec.Command(binary, "reclaim", "--data-dir", n.dataDir, "--network", "test").CombinedOutput()
	if err != nil || string(out) != "freed 1\n" {
		t.Errorf("reclaim: %v %s", err, out)
	}
	must(t, p.del())
	if list := n.doctor(); len(list) > 0 {
		t.Errorf("doctor finds on a clean node: %v", list)
	}
	n.wantNothingLeft()
}

func TestDoctorNamesAChainThatDrops(t *testing.T) {
	n := newNetwork(t, nil)
	nft := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("nft", args...).CombinedOutput(); err != nil {
			t.Fatalf("nft %v: %v: %s", args, err, out)
		}
	}
	nft("add table ip firewall; add chain ip firewall onward { type filter hook forward priority 0; policy drop; }")
	t.Cleanup(func() { nft("delete", "table", "ip", "firewall") })
	list := n.doctor()
	if len(list) != 1 || list[0].ID != "cni.forward.drop" || list[0].Object != "ip firewall onward" {
		t.Errorf("%+v", list)
	}
}

func (n *network) doctor() finding.List {
	n.t.Helper()
	cmd := exec.Command(binary, "doctor", "-o", "json", "--data-dir", n.dataDir)
	out, err := cmd.Output()
	must(n.t, err)
	var list finding.List
	must(n.t, json.Unmarshal(out, &list))
	return list
}
