package suite

import (
	"net"
	"slices"
	"strings"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
)

var addCases = []Case{
	{Name: "add/the result is what the kernel has", Level: Must, Spec: "ADD; section 5, Success", Run: func(r *Run) {
		p := r.pod("p")
		res, _ := r.attach(p)
		if err := p.agrees(res, "eth0"); err != nil {
			r.errorf("%v", err)
		}
	}},
	{Name: "add/an interface's name is the one asked for", Level: Must, Spec: "CNI_IFNAME", Run: func(r *Run) {
		p := r.pod("p")
		res, _ := r.attachAs(request{verb: "ADD", pod: p, ifname: "net-7.x"})
		if err := p.agrees(res, "net-7.x"); err != nil {
			r.errorf("%v", err)
		}
	}},
	{Name: "add/two pods reach each other", Level: Trust, Spec: "what a network is for", Run: func(r *Run) {
		a, b := r.pod("a"), r.pod("b")
		r.attach(a)
		res, _ := r.attach(b)
		for _, ip := range addresses(res) {
			if err := r.reach(a, b, ip); err != nil {
				r.errorf("from pod to pod at %s: %v", ip, err)
			}
		}
	}},
	{Name: "add/two interfaces of one container", Level: Must, Spec: "ADD: the key is container id and interface", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("p")
		one, _ := r.attachAs(request{verb: "ADD", pod: p, ifname: "eth0"})
		two, _ := r.attachAs(request{verb: "ADD", pod: p, ifname: "eth1"})
		r.distinct("the two interfaces", one, two)
		r.wants("DEL of eth1", r.call(request{verb: "DEL", pod: p, ifname: "eth1"}))
		if err := p.agrees(one, "eth0"); err != nil {
			r.errorf("after DEL of eth1: %v", err)
		}
		r.wants("DEL of eth0", r.call(request{verb: "DEL", pod: p, ifname: "eth0"}))
		r.must(p.unpin())
		r.leavesNothing(before, "DEL of both interfaces")
	}},
	{Name: "add/a second ADD of what is attached is an error", Level: Must, Spec: "ADD: the runtime must not, and the interface exists", Run: func(r *Run) {
		p := r.pod("p")
		res, _ := r.attach(p)
		r.refuses("the second ADD", r.call(request{verb: "ADD", pod: p}))
		if err := p.agrees(res, "eth0"); err != nil {
			r.errorf("after the second ADD the first attachment is broken: %v", err)
		}
	}},
	{Name: "add/an interface of that name that exists is an error", Level: Must, Spec: "ADD: if an interface of that name exists, an error", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("p")
		r.must(p.within(func() error {
			return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}})
		}))
		r.refuses("ADD over a foreign eth0", r.call(request{verb: "ADD", pod: p}))
		r.must(p.within(func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil || l.Type() != "bridge" {
				r.errorf("the foreign eth0 was touched: %v", err)
			}
			return nil
		}))
		r.wants("DEL after the ADD that failed", r.call(request{verb: "DEL", pod: p}))
		r.must(p.unpin())
		r.leavesNothing(before, "an ADD that failed, and its DEL")
	}},
	{Name: "add/an ADD that failed keeps no address", Level: Trust, Spec: "containerd #5768, #12130", Small: true, Run: func(r *Run) {
		few := r.few()
		for range 2 * smallFits {
			few.refuses("ADD without a namespace", few.call(request{verb: "ADD", pod: few.fresh(), env: environment{"CNI_NETNS": "/run/netns/absent"}}))
		}
		if got := few.fill(smallFits + 2); got != smallFits {
			few.errorf("after %d ADDs that failed, %d of %d addresses are left", 2*smallFits, got, smallFits)
		}
	}},
	{Name: "add/arguments it does not know are ignored when asked to", Level: Must, Spec: "CNI_ARGS, IgnoreUnknown", Run: func(r *Run) {
		r.attachAs(request{verb: "ADD", pod: r.pod("p"), env: environment{"CNI_ARGS": "IgnoreUnknown=1;Strange=yes;K8S_POD_NAMESPACE=x"}})
	}},
	{Name: "add/nothing but the result on standard output", Level: Must, Spec: "section 2: stdout is for the result", Run: func(r *Run) {
		_, raw := r.attach(r.pod("p"))
		if text := strings.TrimSpace(string(raw)); !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
			r.errorf("stdout is %s", short(raw))
		}
	}},
	{Name: "add/after ADD and DEL comes ADD", Level: Must, Spec: "DEL: the runtime may add the same container again", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("p")
		for range 3 {
			res, _ := r.attach(p)
			if err := p.agrees(res, "eth0"); err != nil {
				r.errorf("%v", err)
			}
			r.detach(p)
		}
		r.must(p.unpin())
		r.leavesNothing(before, "three times ADD and DEL")
	}},
}

// distinct demands that no address is in two results.
func (r *Run) distinct(what string, results ...*current.Result) {
	var seen []string
	for _, res := range results {
		for _, ip := range addresses(res) {
			if slices.Contains(seen, ip.String()) {
				r.errorf("%s: address %s was given twice", what, ip)
			}
			seen = append(seen, ip.String())
		}
	}
}

// reach opens a TCP connection from pod a to a listener in pod b.
func (r *Run) reach(a, b *Pod, ip net.IP) error {
	var listener net.Listener
	if err := b.within(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(ip.String(), "8080"))
		return err
	}); err != nil {
		return err
	}
	defer listener.Close()
	return a.within(func() error { return dial(net.JoinHostPort(ip.String(), "8080"), 5*time.Second) })
}

// dial connects from the calling thread's namespace, again and again for a
// while: an address may be tentative yet.
func dial(address string, patience time.Duration) error {
	for end := time.Now().Add(patience); ; {
		conn, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
