package suite

import (
	"github.com/vishvananda/netlink"
)

var checkCases = []Case{
	{Name: "check/of a sound attachment succeeds and changes nothing", Level: Must, Spec: "CHECK", Since: "0.4.0", Run: func(r *Run) {
		p := r.pod("p")
		_, raw := r.attach(p)
		before := r.settled()
		for range 2 {
			r.wants("CHECK", r.call(request{verb: "CHECK", pod: p, prev: raw}))
		}
		r.leavesNothing(before, "CHECK")
	}},
	{Name: "check/finds an interface that is gone", Level: Must, Spec: "CHECK: error if an interface is missing", Since: "0.4.0", Run: spoilt(func(l netlink.Link) error {
		return netlink.LinkDel(l)
	})},
	{Name: "check/finds an address that is gone", Level: Must, Spec: "CHECK: error if prevResult's ips differ", Since: "0.4.0", Run: spoilt(func(l netlink.Link) error {
		list, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil || len(list) == 0 {
			return err
		}
		return netlink.AddrDel(l, &list[0])
	})},
	{Name: "check/finds a route that is gone", Level: Must, Spec: "CHECK: error if prevResult's routes differ", Since: "0.4.0", Run: spoilt(func(l netlink.Link) error {
		routes, err := netlink.RouteList(l, netlink.FAMILY_V4)
		for _, route := range routes {
			if err == nil && route.Gw != nil {
				err = netlink.RouteDel(&route)
			}
		}
		return err
	})},
	{Name: "check/without prevResult is an error", Level: Must, Spec: "CHECK: the runtime must give prevResult", Since: "0.4.0", Run: func(r *Run) {
		p := r.pod("p")
		r.attach(p)
		r.refuses("CHECK without prevResult", r.first(request{verb: "CHECK", pod: p}))
	}},
	{Name: "check/of what was deleted is an error", Level: Must, Spec: "CHECK", Since: "0.4.0", Run: func(r *Run) {
		p := r.pod("p")
		_, raw := r.attach(p)
		r.detach(p)
		r.refuses("CHECK after DEL", r.call(request{verb: "CHECK", pod: p, prev: raw}))
	}},
}

// spoilt is a case in which something of a pod's eth0 is taken away and
// CHECK must see it. What the configuration never made cannot be missed: then
// CHECK must go on to succeed.
func spoilt(take func(netlink.Link) error) func(*Run) {
	return func(r *Run) {
		p := r.pod("p")
		res, raw := r.attach(p)
		r.wants("CHECK of what is sound", r.call(request{verb: "CHECK", pod: p, prev: raw}))
		r.must(p.within(func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return take(l)
		}))
		a := r.call(request{verb: "CHECK", pod: p, prev: raw})
		if p.agrees(res, "eth0") == nil {
			r.wants("CHECK of what lost nothing of its result", a)
			return
		}
		r.refuses("CHECK after the loss", a)
	}
}

var statusCases = []Case{
	{Name: "status/of a plug-in that is ready succeeds and changes nothing", Level: Must, Spec: "STATUS", Since: "1.1.0", Run: func(r *Run) {
		before := r.settled()
		r.ready("STATUS before the first pod")
		r.leavesNothing(before, "STATUS before the first pod")
		p := r.pod("p")
		r.attach(p)
		before = r.settled()
		r.ready("STATUS beside a pod")
		r.leavesNothing(before, "STATUS")
	}},
}

func (r *Run) ready(what string) {
	for i := range r.Plugins {
		a, err := r.one(r.context(), i, request{verb: "STATUS"})
		r.must(err)
		if !a.ok() || len(a.Stdout) > 0 {
			r.errorf("%s of %s: %s; want success and nothing on stdout", what, typeOf(r.Plugins[i]), a)
		}
	}
}
