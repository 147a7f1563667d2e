package attach_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/varve-project/varve/cni-plugin/attach"
)

// run is a command of the administrator's.
func run(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// wall is a foreign firewall that drops forwarded packets.
type wall struct {
	build, show, remove string
	// ours counts the lines of show that are our rule.
	ours string
	want int
}

const (
	legacyShow   = "iptables-legacy -S; ip6tables-legacy -S"
	legacyRemove = "for p in iptables-legacy ip6tables-legacy; do $p -P FORWARD ACCEPT; $p -F; $p -X; done"
	nftShow      = "iptables-nft -S; ip6tables-nft -S"
	nftRemove    = "nft delete table ip filter; nft delete table ip6 filter; nft delete table ip nat 2>/dev/null || true"
)

// docker and kubeProxy are the rule sets that those make.
const docker = `
for p in $T 6$T; do case $p in 6*) i=ip6${p#6ip};; *) i=$p;; esac
$i -P FORWARD DROP; $i -N DOCKER; $i -N DOCKER-USER; $i -N DOCKER-FORWARD; $i -N DOCKER-CT; $i -N DOCKER-BRIDGE
$i -A FORWARD -j DOCKER-USER; $i -A FORWARD -j DOCKER-FORWARD; $i -A DOCKER-FORWARD -j DOCKER-CT; $i -A DOCKER-FORWARD -j DOCKER-BRIDGE
$i -A DOCKER-FORWARD -i docker0 -j ACCEPT; $i -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$i -A DOCKER-BRIDGE -o docker0 -j DOCKER; $i -A DOCKER ! -i docker0 -o docker0 -j DROP
$i -t nat -N DOCKER; $i -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; $i -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER; done`

const kubeProxy = `
for i in $T 6$T; do case $i in 6*) i=ip6${i#6ip};; esac
$i -P FORWARD DROP; $i -N KUBE-FORWARD; $i -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
$i -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP; $i -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
$i -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$i -t nat -N KUBE-SERVICES; $i -t nat -N KUBE-NODEPORTS; $i -t nat -N KUBE-POSTROUTING; $i -t nat -N KUBE-MARK-MASQ
$i -t nat -A PREROUTING -j KUBE-SERVICES; $i -t nat -A OUTPUT -j KUBE-SERVICES; $i -t nat -A POSTROUTING -j KUBE-POSTROUTING
$i -t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS; $i -t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
$i -t nat -A KUBE-NODEPORTS -p tcp --dport 30080 -j KUBE-MARK-MASQ
$i -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN; $i -t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
$i -t nat -A KUBE-POSTROUTING -j MASQUERADE; done`

var walls = map[string]wall{
	"plain nftables, policy": {
		build: "nft 'add table inet guard; add chain inet guard onward { type filter hook forward priority 0; policy drop; }'",
		show:  "nft list table inet guard", remove: "nft delete table inet guard", ours: `comment "varve-cni"`, want: 1,
	},
	"plain nftables, last rule": {
		build: "nft 'add table inet filter; add chain inet filter forward { type filter hook forward priority 0; }; add rule inet filter forward ct state invalid drop; add rule inet filter forward reject with icmpx admin-prohibited'",
		show:  "nft list table inet filter", remove: "nft delete table inet filter", ours: `comment "varve-cni"`, want: 1,
	},
	"iptables-nft":             {build: "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP", show: nftShow, remove: nftRemove, ours: "varve-cni", want: 2},
	"iptables-nft, REJECT":     {build: "iptables-nft -A FORWARD -j REJECT; ip6tables-nft -A FORWARD -j REJECT", show: nftShow, remove: nftRemove, ours: "varve-cni", want: 2},
	"iptables-legacy":          {build: "iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP", show: legacyShow, remove: legacyRemove, ours: "varve-cni", want: 2},
	"iptables-legacy, REJECT":  {build: "iptables-legacy -A FORWARD -i nowhere -j ACCEPT; iptables-legacy -A FORWARD -j REJECT; ip6tables-legacy -A FORWARD -j REJECT", show: legacyShow, remove: legacyRemove, ours: "varve-cni", want: 2},
	"Docker, iptables-nft":     {build: "T=iptables-nft" + docker, show: nftShow, remove: nftRemove + "; nft delete table ip6 nat", ours: "varve-cni", want: 2},
	"Docker, iptables-legacy":  {build: "T=iptables-legacy" + docker, show: legacyShow, remove: legacyRemove + "; for p in iptables-legacy ip6tables-legacy; do $p -t nat -F; $p -t nat -X; done", ours: "varve-cni", want: 2},
	"kube-proxy, iptables-nft": {build: "T=iptables-nft" + kubeProxy, show: nftShow, remove: nftRemove + "; nft delete table ip6 nat", ours: "varve-cni", want: 2},
	"kube-proxy, legacy":       {build: "T=iptables-legacy" + kubeProxy, show: legacyShow, remove: legacyRemove + "; for p in iptables-legacy ip6tables-legacy; do $p -t nat -F; $p -t nat -X; done", ours: "varve-cni", want: 2},
}

// Through each firewall that drops by default go what a pod sends and what is
// sent to its host ports; not what is sent to the pod unasked. The foreign
// chain has one rule more, once, and none when the network is dismantled.
func TestPassesForeignFirewalls(t *testing.T) {
	for name, w := range walls {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, nil)
			out := outside(t)
			run(t, w.build)
			t.Cleanup(func() { run(t, w.remove) })
			before := run(t, w.show)
			p := n.pod("p", ports(`{"hostPort":8080,"containerPort":80}`, `{"hostPort":5353,"containerPort":53,"protocol":"udp"}`))
			wantThroughWall(t, n, out, p)
			second := n.pod("second", nil)
			shown := run(t, w.show)
			if got := strings.Count(shown, w.ours); got != w.want {
				t.Errorf("%d rules of ours, want %d:\n%s", got, w.want, shown)
			}
			if out, err := n.call("STATUS", "", "", nil); err != nil {
				t.Errorf("STATUS: %v %s", err, out)
			}
			must(t, second.del())
			must(t, p.del())
			n.dismantle()
			if after := run(t, w.show); after != before {
				t.Errorf("the firewall was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// wantThroughWall asks through the host's firewall in both directions.
func wantThroughWall(t *testing.T, n *network, out *namespace, p *attachment) {
	t.Helper()
	out.serve(t, "tcp", 99, "out")
	p.ns.serve(t, "tcp", 80, "p")
	p.ns.serve(t, "udp", 53, "p")
	for _, host := range []string{"192.0.2", "2001:db8:"} {
		here, there := host+".1", host+".2"
		if strings.Contains(host, ":") {
			here, there = host+":1", host+":2"
		}
		out.wantAnswer(t, "tcp", net.JoinHostPort(here, "8080"), "p", there)
		out.wantAnswer(t, "udp", net.JoinHostPort(here, "5353"), "p", there)
		p.ns.wantAnswer(t, "tcp", net.JoinHostPort(there, "99"), "out", here)
	}
	must(t, out.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		_, dst, err := net.ParseCIDR("10.89.0.0/24")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Gw: net.ParseIP("192.0.2.1")})
	}))
	must(t, out.do(func() error {
		c, err := net.DialTimeout("tcp", p.ip(true).String()+":80", 300*time.Millisecond)
		if err == nil {
			_ = c.Close()
			t.Error("what the firewall drops gets through")
		}
		return nil
	}))
}

// A firewall that comes after the pods is opened by the next ADD, and left
// alone with forwardRule "none".
func TestFirewallThatComesLater(t *testing.T) {
	n := newNetwork(t, nil)
	w := walls["iptables-nft"]
	a := n.pod("a", nil)
	run(t, w.build)
	t.Cleanup(func() { run(t, w.remove) })
	n.conf["forwardRule"] = "none"
	b := n.pod("b", nil)
	if shown := run(t, w.show); strings.Contains(shown, w.ours) {
		t.Errorf("forwardRule none, and still:\n%s", shown)
	}
	delete(n.conf, "forwardRule")
	parallel(8, func(i int) { _ = n.container("p"+string(rune('0'+i)), nil).add() })
	if shown := run(t, w.show); strings.Count(shown, w.ours) != w.want {
		t.Errorf("after eight ADDs at once:\n%s", shown)
	}
	must(t, a.del())
	must(t, b.del())
}

// STATUS names the chain that cannot be opened.
func TestStatusNamesAChainThatCannotBeOpened(t *testing.T) {
	n := newNetwork(t, nil)
	run(t, walls["iptables-legacy"].build)
	t.Cleanup(func() { run(t, walls["iptables-legacy"].remove) })
	n.env = []string{"PATH=/nonexistent"}
	if _, err := os.Stat("/usr/sbin/iptables-legacy"); err == nil {
		// The plug-in looks there as well: hide the folder from it.
		n.hide = []string{"/usr/sbin", "/sbin"}
	}
	out, err := n.call("STATUS", "", "", nil)
	wantCode(t, out, err, 50, "iptables-legacy FORWARD")
	out, err = n.call("ADD", "p", n.container("p", nil).ns.path, nil)
	wantCode(t, out, err, attach.CodeKernel, "iptables-legacy FORWARD")
	n.conf["forwardRule"] = "none"
	if out, err := n.call("STATUS", "", "", nil); err != nil {
		t.Errorf("%v %s", err, out)
	}
}
