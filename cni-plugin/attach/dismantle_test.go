package attach_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/varve-project/varve/cni-plugin/rules"
)

// dismantle runs the command as `varve down` does and returns what it says
// stays.
func (n *network) dismantle() string {
	n.t.Helper()
	cmd := exec.Command(filepath.Join(pluginDir, "varve-cni"), "dismantle", "--conf", "-")
	cmd.Stdin = strings.NewReader(string(n.list("1.1.0").Bytes))
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("dismantle: %v: %s", err, out)
	}
	return string(out)
}

func (n *network) wantShared(there bool) {
	n.t.Helper()
	_, err := netlink.LinkByName(n.bridge)
	if (err == nil) != there {
		n.t.Errorf("bridge %s there: %v, want %v", n.bridge, err == nil, there)
	}
	err = exec.Command("nft", "list", "table", "inet", rules.TableName).Run()
	if (err == nil) != there {
		n.t.Errorf("table %s there: %v, want %v", rules.TableName, err == nil, there)
	}
}

func TestDismantleLeavesNothingAndTheNextADDMakesItAgain(t *testing.T) {
	n := newNetwork(t, nil)
	for range 2 {
		a := n.pod("one", ports(`{"hostPort":8080,"containerPort":80,"protocol":"tcp"}`))
		if said := n.dismantle(); !strings.Contains(said, "has attachments") {
			t.Errorf("with a pod it says %q", said)
		}
		n.wantShared(true)
		must(t, a.check())
		must(t, a.del())
		if said := n.dismantle(); said != "" {
			t.Errorf("without pods it says %q", said)
		}
		n.wantShared(false)
		a.ns.drop()
	}
	if said := n.dismantle(); said != "" {
		t.Errorf("of nothing it says %q", said)
	}
}

func TestDismantleKeepsWhatIsNotIts(t *testing.T) {
	n := newNetwork(t, nil)
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: n.bridge}}))
	must(t, n.pod("one", nil).del())
	other := newNetwork(t, nil)
	other.name, other.bridge = "other", "tbr1"
	other.conf["bridge"] = other.bridge
	other.conf["ipam"].(map[string]any)["ranges"] = []any{[]any{map[string]any{"subnet": "10.90.0.0/24"}}, []any{map[string]any{"subnet": "fd77::/64"}}}
	neighbour := other.pod("two", nil)
	said := n.dismantle()
	for _, want := range []string{"varve-cni did not make it", "pods of another network"} {
		if !strings.Contains(said, want) {
			t.Errorf("it says %q, not %q", said, want)
		}
	}
	n.wantShared(true)
	must(t, neighbour.check())
	must(t, neighbour.del())
}
