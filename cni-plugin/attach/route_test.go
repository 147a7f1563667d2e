package attach_test

import (
	"encoding/json"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Every field of a route of spec 1.1 reaches the kernel, and the answer.
func TestRouteFields(t *testing.T) {
	n := newNetwork(t, func(c map[string]any) {
		c["ipam"].(map[string]any)["routes"] = []any{
			map[string]any{"dst": "203.0.113.0/24", "gw": "10.89.0.9", "mtu": 1300, "advmss": 1200, "priority": 50, "table": 100, "scope": 0},
			map[string]any{"dst": "198.51.100.0/24", "scope": 253},
			map[string]any{"dst": "2001:db8:5::/48", "mtu": 1350, "priority": 7},
		}
	})
	p := n.pod("p", nil)
	var routes []netlink.Route
	must(t, p.ns.do(func() (err error) {
		routes, err = netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		return err
	}))
	got := map[string]netlink.Route{}
	for _, r := range routes {
		if r.Dst != nil {
			got[r.Dst.String()] = r
		}
	}
	if r := got["203.0.113.0/24"]; r.Gw.String() != "10.89.0.9" || r.MTU != 1300 || r.AdvMSS != 1200 || r.Priority != 50 || r.Table != 100 {
		t.Errorf("%+v", r)
	}
	if r := got["198.51.100.0/24"]; r.Gw != nil || r.Scope != netlink.SCOPE_LINK {
		t.Errorf("%+v", r)
	}
	if r := got["2001:db8:5::/48"]; r.Gw.String() != "fd76::1" || r.MTU != 1350 || r.Priority != 7 {
		t.Errorf("%+v", r)
	}
	if r := p.res.Routes[0]; r.MTU != 1300 || r.AdvMSS != 1200 || r.Priority != 50 || r.Table == nil || *r.Table != 100 {
		t.Errorf("the answer has %+v", r)
	}
	must(t, p.check())
	must(t, p.del())
}

// The MTU is that of the link of the default route, through bridge and pair.
func TestMTUOfTheUplink(t *testing.T) {
	n := newNetwork(t, nil)
	outside(t)
	run(t, "ip link set uplink mtu 1400 && ip route add default via 192.0.2.2")
	p := n.pod("p", nil)
	var inPod int
	must(t, p.ns.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err == nil {
			inPod = l.Attrs().MTU
		}
		return err
	}))
	br, err := netlink.LinkByName(n.bridge)
	must(t, err)
	if br.Attrs().MTU != 1400 || inPod != 1400 || p.res.Interfaces[2].Mtu != 1400 {
		t.Errorf("bridge %d, pod %d, answer %d; want 1400", br.Attrs().MTU, inPod, p.res.Interfaces[2].Mtu)
	}
	must(t, p.del())
}

// What a runtime that is badly wrong sends gets the right code, whatever the
// call.
func TestGarbage(t *testing.T) {
	n := newNetwork(t, nil)
	ns := n.container("p", nil).ns.path
	garbage := make([]byte, 100_000)
	for i := range garbage {
		garbage[i] = byte(i*7 + i>>8)
	}
	deep := append(append([]byte(`{"cniVersion":"1.1.0","name":"n","type":"varve-cni","args":`), bytesOf('[', 50_000)...), bytesOf(']', 50_000)...)
	long, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "n", "type": "varve-cni", string(bytesOf('k', 100_000)): 1})
	must(t, err)
	for _, command := range []string{"ADD", "DEL", "CHECK", "GC", "STATUS"} {
		for name, c := range map[string]struct {
			stdin []byte
			code  uint
		}{
			"100 KB of garbage": {garbage, 6}, "nothing": {nil, 6}, "a list": {[]byte("[]"), 6}, "too deep": {append(deep, '}'), 6},
			"a name with a slash": {[]byte(`{"cniVersion":"1.1.0","name":"../etc","type":"varve-cni"}`), 7},
		} {
			out, err := n.raw(command, "p", ns, c.stdin)
			t.Logf("%s of %s: %.200s", command, name, out)
			wantCode(t, out, err, c.code, "")
		}
	}
	out, err := n.raw("ADD", "p", ns, long)
	wantCode(t, out, err, 7, "unknown key")
	out, err = n.raw("ADD", "../p", ns, []byte(`{"cniVersion":"1.1.0","name":"n","type":"varve-cni"}`))
	wantCode(t, out, err, 4, "")
	n.wantNothingLeft()
}

func bytesOf(b byte, count int) []byte {
	out := make([]byte, count)
	for i := range out {
		out[i] = b
	}
	return out
}
