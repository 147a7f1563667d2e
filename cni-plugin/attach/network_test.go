package attach_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/varve-project/varve/cni-plugin/rules"
)

// network is one configured network with a store of its own, used through
// libcni and the built binary.
type network struct {
	t       *testing.T
	name    string
	dataDir string
	bridge  string
	conf    map[string]any
	cni     *libcni.CNIConfig
	env     []string
	hide    []string // folders that the plug-in does not see
}

// newNetwork configures a dual-stack network; change edits the plug-in's
// configuration.
func newNetwork(t *testing.T, change func(conf map[string]any)) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := &network{t: t, name: "test", dataDir: t.TempDir(), bridge: "tbr0"}
	n.conf = map[string]any{
		"type": "varve-cni", "bridge": n.bridge, "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
		"capabilities": map[string]any{"portMappings": true, "bandwidth": true, "ips": true, "mac": true, "ipRanges": true, "dns": true},
		"ipam": map[string]any{"dataDir": n.dataDir, "restSeconds": 0, "ranges": []any{
			[]any{map[string]any{"subnet": "10.89.0.0/24"}}, []any{map[string]any{"subnet": "fd76::/64"}},
		}},
	}
	if change != nil {
		change(n.conf)
	}
	n.cni = libcni.NewCNIConfigWithCacheDir([]string{pluginDir}, t.TempDir(), nil)
	t.Cleanup(n.remove)
	return n
}

// remove takes the bridge and the table away, with whatever a failed test left.
func (n *network) remove() {
	links, _ := netlink.LinkList()
	for _, l := range links {
		if l.Attrs().Name == n.bridge || strings.HasPrefix(l.Attrs().Alias, "varve-cni ") {
			_ = netlink.LinkDel(l)
		}
	}
	_ = exec.Command("nft", "delete", "table", "inet", rules.TableName).Run()
}

func (n *network) list(version string) *libcni.NetworkConfigList {
	n.t.Helper()
	data, err := json.Marshal(map[string]any{"cniVersion": version, "name": n.name, "plugins": []any{n.conf}})
	must(n.t, err)
	list, err := libcni.ConfListFromBytes(data)
	must(n.t, err)
	return list
}

// attachment is one container on the network.
type attachment struct {
	n    *network
	id   string
	ns   *namespace
	caps map[string]any
	res  *current.Result
}

func (a *attachment) runtime() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: a.id, NetNS: a.ns.path, IfName: "eth0", CapabilityArgs: a.caps}
}

func (n *network) container(id string, caps map[string]any) *attachment {
	return &attachment{n: n, id: id, ns: newNamespace(n.t), caps: caps}
}

func (a *attachment) add() error {
	res, err := a.n.cni.AddNetworkList(context.Background(), a.n.list("1.1.0"), a.runtime())
	if err != nil {
		return err
	}
	a.res, err = current.NewResultFromResult(res)
	return err
}

func (a *attachment) del() error {
	return a.n.cni.DelNetworkList(context.Background(), a.n.list("1.1.0"), a.runtime())
}

func (a *attachment) check() error {
	return a.n.cni.CheckNetworkList(context.Background(), a.n.list("1.1.0"), a.runtime())
}

// pod is a container that is attached.
func (n *network) pod(id string, caps map[string]any) *attachment {
	n.t.Helper()
	a := n.container(id, caps)
	if err := a.add(); err != nil {
		n.t.Fatalf("ADD %s: %v", id, err)
	}
	return a
}

// ip is the attachment's address of a family.
func (a *attachment) ip(v4 bool) netip.Addr {
	for _, c := range a.res.IPs {
		if addr, _ := netip.AddrFromSlice(c.Address.IP); addr.Unmap().Is4() == v4 {
			return addr.Unmap()
		}
	}
	a.n.t.Fatalf("%s has no such address: %v", a.id, a.res.IPs)
	return netip.Addr{}
}

func ports(list ...string) map[string]any {
	var out []map[string]any
	for _, text := range list {
		var p map[string]any
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return map[string]any{"portMappings": out}
}

// left lists what the kernel and the store hold for attachments: links, map
// elements, leases, addresses that are leased.
func (n *network) left() []string {
	n.t.Helper()
	var out []string
	links, err := netlink.LinkList()
	must(n.t, err)
	for _, l := range links {
		name := l.Attrs().Name
		if strings.HasPrefix(l.Attrs().Alias, "varve-cni ") || strings.HasPrefix(name, "varve") || strings.HasPrefix(name, "vifb") {
			out = append(out, "link "+name)
		}
	}
	t, err := rules.Open()
	must(n.t, err)
	defer t.Close()
	elements, err := t.Elements()
	must(n.t, err)
	for _, e := range elements {
		out = append(out, fmt.Sprintf("element %s %s", e.Map, e.Addr))
	}
	for _, sub := range []string{"leases", "locks"} {
		entries, err := os.ReadDir(filepath.Join(n.dataDir, n.name, sub))
		if err != nil && !os.IsNotExist(err) {
			n.t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".tmp-") {
				out = append(out, sub+" "+e.Name())
			}
		}
	}
	index, err := os.ReadFile(filepath.Join(n.dataDir, n.name, "index"))
	if err != nil && !os.IsNotExist(err) {
		n.t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(index), "\n") {
		if strings.HasPrefix(line, "leased ") {
			out = append(out, "index "+line)
		}
	}
	sort.Strings(out)
	return out
}

func (n *network) wantNothingLeft() {
	n.t.Helper()
	if out := n.left(); len(out) > 0 {
		n.t.Errorf("left behind:\n%s", strings.Join(out, "\n"))
	}
}

// call runs the binary by hand, as a runtime would, and returns its output.
func (n *network) call(command, id, netns string, extra map[string]any) ([]byte, error) {
	n.t.Helper()
	conf := map[string]any{"cniVersion": "1.1.0", "name": n.name}
	for k, v := range n.conf {
		conf[k] = v
	}
	for k, v := range extra {
		conf[k] = v
	}
	data, err := json.Marshal(conf)
	must(n.t, err)
	return n.raw(command, id, netns, data)
}

func (n *network) raw(command, id, netns string, stdin []byte) ([]byte, error) {
	cmd := exec.Command(binary)
	if n.hide != nil {
		script := "for d in " + strings.Join(n.hide, " ") + "; do /bin/mount -t tmpfs none $d; done; exec " + binary
		cmd = exec.Command("/usr/bin/unshare", "-m", "/bin/sh", "-ec", script)
	}
	cmd.Env = append([]string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0", "CNI_PATH=" + pluginDir}, n.env...)
	cmd.Stdin = bytes.NewReader(stdin)
	return cmd.Output()
}

// wantCode compares the code of a CNI error on standard output.
func wantCode(t *testing.T, out []byte, err error, code uint, text string) {
	t.Helper()
	var e types.Error
	if err == nil {
		t.Errorf("no error, want code %d", code)
		return
	}
	if jsonErr := json.Unmarshal(out, &e); jsonErr != nil {
		t.Errorf("the output is no CNI error: %v\n%s", jsonErr, out)
		return
	}
	if e.Code != code || !strings.Contains(e.Msg, text) {
		t.Errorf("code %d, %q; want %d with %q", e.Code, e.Msg, code, text)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// deleteLink takes an attachment's link away, as when its namespace dies.
func (n *network) deleteLink(a *attachment) {
	n.t.Helper()
	l, err := netlink.LinkByName(a.res.Interfaces[1].Name)
	must(n.t, err)
	must(n.t, netlink.LinkDel(l))
}
