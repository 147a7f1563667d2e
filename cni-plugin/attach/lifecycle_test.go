package attach_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"github.com/varve-project/varve/cni-plugin/attach"
	"github.com/varve-project/varve/cni-plugin/ipam"
)

func TestDelSucceedsWhateverIsGone(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.pod("p", ports(`{"hostPort":8080,"containerPort":80}`))
	p.ns.drop()
	_ = os.Remove(p.ns.path)
	l, err := netlink.LinkByName(p.res.Interfaces[1].Name)
	if err == nil {
		must(t, netlink.LinkDel(l))
	}
	for range 2 {
		if out, err := n.call("DEL", "p", p.ns.path, nil); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := n.call("DEL", "never-seen", "", nil); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.wantNothingLeft()
}

func TestDelWithAConfigurationThatHasGoneBad(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.pod("p", nil)
	n.conf["brige"], n.conf["mtu"] = "typo", "big"
	must(t, p.del())
	n.wantNothingLeft()
}

func TestDelWithoutItsRecord(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.pod("p", nil)
	must(t, os.WriteFile(filepath.Join(n.dataDir, "test/leases/p@eth0"), []byte("{\x00\x00"), 0o600))
	must(t, p.del())
	for _, line := range n.left() {
		if !strings.HasPrefix(line, "element") { // what the record alone knew
			t.Error(line)
		}
	}
	must(t, p.add())
	must(t, p.del())
}

func TestAddDelAdd(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.pod("p", nil)
	if err := p.add(); err == nil || !strings.Contains(err.Error(), "attached already") {
		t.Errorf("a second ADD: %v", err)
	}
	for range 3 {
		must(t, p.del())
		must(t, p.add())
	}
	must(t, p.del())
	n.wantNothingLeft()
}

// A DEL that was asked for after an ADD, and got the lock before it, refuses
// it; an ADD that was asked for after the DEL goes ahead.
func TestOvertakenAddDoesNotResurrect(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.container("p", nil)
	early := ipam.BootTime()
	must(t, p.del())
	conf := map[string]any{"cniVersion": "1.1.0", "name": "test"}
	for k, v := range n.conf {
		conf[k] = v
	}
	stdin, err := json.Marshal(conf)
	must(t, err)
	_, _, err = (&attach.Engine{}).Add(attach.Call{ContainerID: "p", IfName: "eth0", Netns: p.ns.path, Stdin: stdin, Stamp: early})
	var e *types.Error
	if !errors.As(err, &e) || e.Code != attach.CodeOvertaken {
		t.Errorf("the ADD that was overtaken: %v", err)
	}
	n.wantNothingLeft()
	must(t, p.add())
	must(t, p.del())
}

func TestParallelAddsGetUniqueAddresses(t *testing.T) {
	n := newNetwork(t, nil)
	const count = 20
	pods := make([]*attachment, count)
	for i := range pods {
		pods[i] = n.container(fmt.Sprintf("p%d", i), ports(fmt.Sprintf(`{"hostPort":%d,"containerPort":80}`, 8000+i)))
	}
	errs := make([]error, count)
	parallel(count, func(i int) { errs[i] = pods[i].add() })
	seen := map[netip.Addr]string{}
	for i, p := range pods {
		must(t, errs[i])
		for _, v4 := range []bool{true, false} {
			if other, taken := seen[p.ip(v4)]; taken {
				t.Errorf("%s and %s both have %s", p.id, other, p.ip(v4))
			}
			seen[p.ip(v4)] = p.id
		}
	}
	parallel(count, func(i int) { errs[i] = pods[i].del() })
	for _, err := range errs {
		must(t, err)
	}
	n.wantNothingLeft()
}

// Of 30 contenders for a /28, exactly those get an address that fit.
func TestSmallRangeServesExactlyWhatFits(t *testing.T) {
	n := newNetwork(t, func(c map[string]any) {
		c["ipam"].(map[string]any)["ranges"] = []any{[]any{map[string]any{"subnet": "10.89.1.0/28"}}}
	})
	const contenders, room = 30, 13
	var mu sync.Mutex
	served := 0
	pods := make([]*attachment, contenders)
	for i := range pods {
		pods[i] = n.container(fmt.Sprintf("p%d", i), nil)
	}
	parallel(contenders, func(i int) {
		err := pods[i].add()
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			served++
		} else if !strings.Contains(err.Error(), "0 free, 13 leased, 0 resting") {
			t.Error(err)
		}
	})
	if served != room {
		t.Errorf("%d got an address, %d fit", served, room)
	}
	parallel(contenders, func(i int) { _ = pods[i].del() })
	n.wantNothingLeft()
}

func TestRestingAddressIsNotGivenAway(t *testing.T) {
	n := newNetwork(t, func(c map[string]any) {
		c["ipam"] = map[string]any{"dataDir": c["ipam"].(map[string]any)["dataDir"], "restSeconds": 3600, "subnet": "10.89.1.0/30"}
	})
	p := n.pod("p", nil)
	must(t, p.del())
	out, err := n.call("ADD", "q", n.container("q", nil).ns.path, nil)
	wantCode(t, out, err, types.ErrTryAgainLater, "0 free, 0 leased, 1 resting")
	// Asked for by name it need not rest.
	p.caps = map[string]any{"ips": []string{"10.89.1.2/30"}}
	must(t, p.add())
	must(t, p.del())
	n.wantNothingLeft()
}

func TestRequestedAddressAndMAC(t *testing.T) {
	n := newNetwork(t, nil)
	p := n.pod("p", map[string]any{"ips": []string{"10.89.0.77", "fd76::77"}, "mac": "02:00:00:00:00:77"})
	if p.ip(true).String() != "10.89.0.77" || p.ip(false).String() != "fd76::77" || p.res.Interfaces[2].Mac != "02:00:00:00:00:77" {
		t.Errorf("got %v", p.res)
	}
	out, err := n.call("ADD", "q", n.container("q", nil).ns.path, map[string]any{"runtimeConfig": map[string]any{"ips": []string{"10.89.0.77"}}})
	wantCode(t, out, err, attach.CodeTaken, "10.89.0.77")
	out, err = n.call("ADD", "q", n.container("q", nil).ns.path, map[string]any{"runtimeConfig": map[string]any{"ips": []string{"10.1.2.3"}}})
	wantCode(t, out, err, types.ErrInvalidNetworkConfig, "10.1.2.3")
	must(t, p.check())
	must(t, p.del())
	n.wantNothingLeft()
}

func TestReboot(t *testing.T) {
	n := newNetwork(t, func(c map[string]any) {
		c["ipam"].(map[string]any)["ranges"] = []any{[]any{map[string]any{"subnet": "10.89.1.0/30"}}}
	})
	p := n.pod("p", nil)
	// The only address is leased. After the reboot nothing of the kernel's is
	// left, the record is, and the address is free without a DEL.
	n.remove()
	t.Setenv("VARVE_TEST_BOOT_ID", "another-boot")
	q := n.pod("q", nil)
	if q.ip(true) != p.ip(true) {
		t.Errorf("after a reboot %s, want %s", q.ip(true), p.ip(true))
	}
	must(t, p.del()) // late, for a pod of the boot before
	q.ns.serve(t, "tcp", 80, "q")
	(*namespace)(nil).wantAnswer(t, "tcp", q.ip(true).String()+":80", "q", "")
	must(t, q.check())
	must(t, q.del())
	n.wantNothingLeft()
}

func TestGC(t *testing.T) {
	n := newNetwork(t, nil)
	keep, drop := n.pod("keep", nil), n.pod("drop", ports(`{"hostPort":8080,"containerPort":80}`))
	foreign := *n
	foreign.name = "foreign"
	other := (&foreign).container("drop", nil)
	other.n = &foreign
	foreign.conf = map[string]any{}
	for k, v := range n.conf {
		foreign.conf[k] = v
	}
	foreign.conf["ipam"] = map[string]any{"dataDir": n.dataDir, "subnet": "10.99.0.0/24"}
	foreign.conf["bridge"] = "tbr1"
	t.Cleanup(func() {
		if l, err := netlink.LinkByName("tbr1"); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	must(t, other.add())

	if out, err := n.call("GC", "", "", nil); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := drop.check(); err != nil {
		t.Fatalf("a GC without a list freed something: %v", err)
	}
	must(t, n.cni.GCNetworkList(context.Background(), n.list("1.1.0"), &libcniGC{ValidAttachments: []types.GCAttachment{{ContainerID: "keep", IfName: "eth0"}}}))
	must(t, keep.check())
	must(t, other.check())
	if exists(filepath.Join(n.dataDir, "test/leases/drop@eth0")) {
		t.Error("GC kept what the runtime does not know")
	}
	if out, err := n.call("GC", "", "", map[string]any{"cni.dev/valid-attachments": []any{}}); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	must(t, other.check())
	must(t, other.del())
	n.wantNothingLeft()
}

func TestCheckFindsWhatIsMissing(t *testing.T) {
	caps := ports(`{"hostPort":8080,"containerPort":80}`)
	caps["bandwidth"] = map[string]any{"ingressRate": 80_000_000, "ingressBurst": 800_000, "egressRate": 40_000_000, "egressBurst": 800_000}
	for name, c := range map[string]struct {
		want   string
		damage func(t *testing.T, p *attachment)
	}{
		"address": {"has not the address", func(t *testing.T, p *attachment) {
			must(t, p.ns.do(func() error {
				l, err := netlink.LinkByName("eth0")
				must(t, err)
				a, err := netlink.ParseAddr(p.ip(true).String() + "/24")
				must(t, err)
				return netlink.AddrDel(l, a)
			}))
		}},
		"route": {"the route", func(t *testing.T, p *attachment) {
			must(t, p.ns.do(func() error {
				routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
				must(t, err)
				for _, r := range routes {
					if r.Gw != nil {
						return netlink.RouteDel(&r)
					}
				}
				return fmt.Errorf("no default route")
			}))
		}},
		"link": {"is gone", func(t *testing.T, p *attachment) {
			l, err := netlink.LinkByName(p.res.Interfaces[1].Name)
			must(t, err)
			must(t, netlink.LinkDel(l))
		}},
		"port": {"is not a port of bridge", func(t *testing.T, p *attachment) {
			l, err := netlink.LinkByName(p.res.Interfaces[1].Name)
			must(t, err)
			must(t, netlink.LinkSetNoMaster(l))
		}},
		"shaper": {"limit on what the pod sends", func(t *testing.T, _ *attachment) {
			links, err := netlink.LinkList()
			must(t, err)
			for _, l := range links {
				if l.Type() == "ifb" && strings.HasPrefix(l.Attrs().Name, "vifb") {
					must(t, netlink.LinkDel(l))
				}
			}
		}},
		"rules": {"is not complete", func(t *testing.T, p *attachment) { deleteTable(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, nil)
			p := n.pod("p", caps)
			must(t, p.check())
			c.damage(t, p)
			if err := p.check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("CHECK says %v, want %q", err, c.want)
			}
			must(t, p.del())
			n.wantNothingLeft()
		})
	}
}

// Somebody flushes the whole ruleset: the next ADD puts the table back, with
// the elements of the pods that live.
func TestTableIsRestoredWithTheLivingPods(t *testing.T) {
	n := newNetwork(t, nil)
	a := n.pod("a", ports(`{"hostPort":8080,"containerPort":80}`))
	a.ns.serve(t, "tcp", 80, "a")
	deleteTable(t)
	b := n.pod("b", nil)
	(*namespace)(nil).wantAnswer(t, "tcp", "127.0.0.1:8080", "a", "")
	must(t, a.check())
	must(t, a.del())
	must(t, b.del())
	n.wantNothingLeft()
}

func TestStatus(t *testing.T) {
	n := newNetwork(t, nil)
	if out, err := n.call("STATUS", "", "", nil); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.bridge
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "other-end"}))
	out, err := n.call("STATUS", "", "", nil)
	wantCode(t, out, err, types.ErrPluginNotAvailable, n.bridge)
	out, err = n.call("ADD", "p", n.container("p", nil).ns.path, nil)
	wantCode(t, out, err, attach.CodeKernel, "is a veth")
	n.wantNothingLeft()
}
