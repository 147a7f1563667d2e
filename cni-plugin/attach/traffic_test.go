package attach_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestPodsReachEachOtherAndShareAPort(t *testing.T) {
	n := newNetwork(t, nil)
	a, b := n.pod("a", nil), n.pod("b", nil)
	for _, p := range []*attachment{a, b} {
		p.ns.serve(t, "tcp", 80, p.id)
		p.ns.serve(t, "udp", 53, p.id)
	}
	for _, v4 := range []bool{true, false} {
		for _, from := range []*namespace{nil, a.ns, b.ns} {
			for _, to := range []*attachment{a, b} {
				from.wantAnswer(t, "tcp", net.JoinHostPort(to.ip(v4).String(), "80"), to.id, "")
				from.wantAnswer(t, "udp", net.JoinHostPort(to.ip(v4).String(), "53"), to.id, "")
			}
		}
		a.ns.wantAnswer(t, "tcp", net.JoinHostPort(b.ip(v4).String(), "80"), "b", a.ip(v4).String())
	}
	must(t, a.check())
	must(t, a.del())
	must(t, b.del())
	n.wantNothingLeft()
}

func TestMasqueradeWithExceptions(t *testing.T) {
	n := newNetwork(t, func(c map[string]any) { c["masqExceptions"] = []string{"192.0.2.2/32"} })
	out := outside(t)
	out.serve(t, "tcp", 99, "out")
	p := n.pod("p", nil)
	p.ns.wantAnswer(t, "tcp", "[2001:db8::2]:99", "out", "2001:db8::1")
	// Not masqueraded, the pod's own address arrives, to which the outside
	// needs a route.
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
	p.ns.wantAnswer(t, "tcp", "192.0.2.2:99", "out", p.ip(true).String())
	must(t, p.del())
}

// With br_netfilter, which Kubernetes wants, bridged packets meet the rules once
// more and earlier.
func TestHostPorts(t *testing.T) {
	for _, value := range []string{"1", "0"} {
		t.Run("bridge-nf-call="+value, func(t *testing.T) {
			for _, name := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
				if err := writeSysctl(name, value); err != nil && (value == "1" || !os.IsNotExist(err)) {
					t.Skip("kernel lacks: br_netfilter")
				}
			}
			testHostPorts(t)
		})
	}
}

func testHostPorts(t *testing.T) {
	n := newNetwork(t, nil)
	out := outside(t)
	p := n.pod("p", ports(`{"hostPort":8080,"containerPort":80}`, `{"hostPort":5353,"containerPort":53,"protocol":"UDP"}`,
		`{"hostPort":9090,"containerPort":80,"hostIP":"192.0.2.1"}`))
	other := n.pod("other", nil)
	p.ns.serve(t, "tcp", 80, "p")
	p.ns.serve(t, "udp", 53, "p")
	for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
		for name, from := range map[string]*namespace{"outside": out, "host": nil, "itself": p.ns, "other pod": other.ns} {
			t.Run(fmt.Sprintf("%s from %s", host, name), func(t *testing.T) {
				want := ""
				if from == out {
					want = strings.Replace(strings.Replace(host, "192.0.2.1", "192.0.2.2", 1), "db8::1", "db8::2", 1)
				}
				from.wantAnswer(t, "tcp", net.JoinHostPort(host, "8080"), "p", want)
				from.wantAnswer(t, "udp", net.JoinHostPort(host, "5353"), "p", want)
			})
		}
	}
	for _, loopback := range loopbacks {
		(*namespace)(nil).wantAnswer(t, "tcp", net.JoinHostPort(loopback, "8080"), "p", "")
		(*namespace)(nil).wantAnswer(t, "udp", net.JoinHostPort(loopback, "5353"), "p", "")
	}
	out.wantAnswer(t, "tcp", "192.0.2.1:9090", "p", "")
	if got, err := out.ask("tcp", "[2001:db8::1]:9090"); err == nil {
		t.Errorf("a port of 192.0.2.1 answers on 2001:db8::1: %s", got)
	}
	must(t, p.check())
	must(t, p.del())
	if got, err := out.ask("tcp", "192.0.2.1:8080"); err == nil {
		t.Errorf("the host port outlives the pod: %s", got)
	}
	must(t, other.del())
	n.wantNothingLeft()
}

// loopbacks are the host's own loopback addresses by which host ports work.
var loopbacks = []string{"127.0.0.1", "::1"}

func TestHostPortBelongsToOnePod(t *testing.T) {
	n := newNetwork(t, nil)
	first := n.pod("first", ports(`{"hostPort":8080,"containerPort":80}`))
	second := n.container("second", ports(`{"hostPort":8080,"containerPort":80}`))
	if err := second.add(); err == nil || !strings.Contains(err.Error(), "test/first@eth0") {
		t.Errorf("two pods got host port 8080: %v", err)
	}
	first.ns.serve(t, "tcp", 80, "first")
	must(t, second.del())
	(*namespace)(nil).wantAnswer(t, "tcp", "127.0.0.1:8080", "first", "")

	// The pod dies without a DEL, and its link with it: then the port is free.
	l, err := netlink.LinkByName(first.res.Interfaces[1].Name)
	must(t, err)
	must(t, netlink.LinkDel(l))
	must(t, second.add())
	second.ns.serve(t, "tcp", 80, "second")
	(*namespace)(nil).wantAnswer(t, "tcp", "127.0.0.1:8080", "second", "")
	must(t, second.del())
	must(t, first.del())
	n.wantNothingLeft()
}

// A UDP flow that began while nobody, or another pod, had the port must find
// the pod that has it now.
func TestUDPFlowFollowsTheHostPort(t *testing.T) {
	n := newNetwork(t, nil)
	out := outside(t)
	n.pod("any", nil) // with the table, connections are tracked
	for _, to := range []string{"192.0.2.1:5353", "[2001:db8::1]:5353"} {
		var c net.Conn
		must(t, out.do(func() (err error) {
			c, err = net.Dial("udp", to)
			return err
		}))
		for _, id := range []string{"one", "two"} {
			_, _ = c.Write([]byte("too early"))
			p := n.pod(id, ports(`{"hostPort":5353,"containerPort":53,"protocol":"udp"}`))
			p.ns.serve(t, "udp", 53, id)
			if got := askAgain(c); !strings.HasPrefix(got, id+" ") {
				t.Errorf("the flow to %s leads to %q, want %s", to, got, id)
			}
			must(t, p.del())
			flows, err := exec.Command("conntrack", "-L", "-p", "udp", "--reply-src", p.ip(strings.HasPrefix(to, "192")).String()).Output()
			must(t, err)
			if len(flows) > 0 {
				t.Errorf("after DEL the kernel still knows:\n%s", flows)
			}
		}
		must(t, c.Close())
	}
}

// Host ports on loopback addresses must not open the host's loopback services
// to the pods.
func TestPodsDoNotReachTheHostsLoopback(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.pod("p", ports(`{"hostPort":8080,"containerPort":80}`))
	(*namespace)(nil).serve(t, "tcp", 7777, "host")
	must(t, p.ns.do(func() error {
		// What a hostile pod with NET_ADMIN would do.
		for _, name := range []string{"all", "eth0"} {
			if err := writeSysctl("net/ipv4/conf/"+name+"/route_localnet", "1"); err != nil {
				return err
			}
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.AddrDel(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(127, 0, 0, 1).To4(), Mask: net.CIDRMask(8, 32)}}); err != nil {
			return err
		}
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		_, dst, err := net.ParseCIDR("127.0.0.1/32")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: dst, Gw: net.ParseIP("10.89.0.1"), Src: p.ip(true).AsSlice()})
	}))
	if got, err := p.ns.ask("tcp", "127.0.0.1:7777"); err == nil {
		t.Errorf("a pod reached the host's loopback: %s", got)
	}
	// That the attack is one: with the sysctl that we do without, it works.
	must(t, writeSysctl("net/ipv4/conf/"+n.bridge+"/route_localnet", "1"))
	if _, err := p.ns.ask("tcp", "127.0.0.1:7777"); err != nil {
		t.Errorf("this test tests nothing: %v", err)
	}
	must(t, p.del())
}

func TestBandwidth(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.pod("p", map[string]any{"bandwidth": map[string]any{
		"ingressRate": 80_000_000, "ingressBurst": 800_000, "egressRate": 40_000_000, "egressBurst": 800_000}})
	must(t, p.check())
	rates := map[string]uint64{}
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		qdiscs, err := netlink.QdiscList(l)
		must(t, err)
		for _, q := range qdiscs {
			if tbf, ok := q.(*netlink.Tbf); ok {
				rates[l.Type()] = tbf.Rate * 8
			}
		}
	}
	if rates["veth"] != 80_000_000 || rates["ifb"] != 40_000_000 {
		t.Errorf("rates %v", rates)
	}
	p.ns.serve(t, "tcp", 80, "p")
	(*namespace)(nil).wantAnswer(t, "tcp", p.ip(true).String()+":80", "p", "")
	must(t, p.del())
	n.wantNothingLeft()
}
