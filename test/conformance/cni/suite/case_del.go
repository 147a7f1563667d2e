package suite

import (
	"github.com/vishvananda/netlink"
)

var delCases = []Case{
	{Name: "del/leaves nothing", Level: Must, Spec: "DEL: releases all resources", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("p")
		_, raw := r.attach(p)
		r.wants("DEL with prevResult", r.call(request{verb: "DEL", pod: p, prev: raw}))
		if names, err := p.links(); err != nil || len(names) > 0 {
			r.errorf("after DEL the pod has %v (%v)", names, err)
		}
		r.must(p.unpin())
		r.leavesNothing(before, "DEL")
	}},
	{Name: "del/again and again succeeds", Level: Must, Spec: "DEL: must accept several calls for one attachment", Run: func(r *Run) {
		p := r.pod("p")
		_, raw := r.attach(p)
		for range 3 {
			r.wants("DEL with prevResult", r.call(request{verb: "DEL", pod: p, prev: raw}))
		}
		r.detach(p)
	}},
	{Name: "del/of what never was succeeds", Level: Must, Spec: "DEL: completes without error when resources are missing", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("never")
		r.detach(p)
		r.must(p.unpin())
		r.leavesNothing(before, "DEL of what never was")
	}},
	{Name: "del/without the namespace frees everything", Level: Must, Spec: "DEL: succeeds when the namespace is gone", Run: func(r *Run) {
		before := r.warm()
		for _, netns := range []string{"", "-"} { // the old path, and no path
			p := r.pod("gone" + netns)
			_, raw := r.attach(p)
			r.must(p.unpin())
			q := request{verb: "DEL", pod: p, prev: raw, env: environment{}}
			if netns != "" {
				q.env["CNI_NETNS"] = netns
			}
			r.wants("DEL after the namespace has gone", r.call(q))
		}
		r.leavesNothing(before, "DEL after the namespace has gone")
	}},
	{Name: "del/without prevResult frees everything", Level: Trust, Spec: "a runtime that lost its cache; containerd #5768", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("p")
		r.attach(p)
		r.wants("DEL without prevResult", r.call(request{verb: "DEL", pod: p, forgotten: true}))
		r.must(p.unpin())
		r.leavesNothing(before, "DEL without prevResult")
	}},
	{Name: "del/without its interface frees everything", Level: Must, Spec: "DEL: completes without error when resources are missing", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("p")
		_, raw := r.attach(p)
		r.must(p.within(func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		}))
		r.wants("DEL after the interface has gone", r.call(request{verb: "DEL", pod: p, prev: raw}))
		r.must(p.unpin())
		r.leavesNothing(before, "DEL after the interface has gone")
	}},
	{Name: "del/frees addresses", Level: Must, Spec: "DEL: releases all resources", Small: true, Run: func(r *Run) {
		few := r.few()
		for round := range 2 {
			if got := few.fill(smallFits); got != smallFits {
				few.errorf("round %d: %d of %d addresses are left", round+1, got, smallFits)
			}
		}
	}},
	{Name: "del/without the namespace frees addresses", Level: Must, Spec: "DEL: releases all resources; plugins #252", Small: true, Run: func(r *Run) {
		few := r.few()
		for range smallFits {
			p := few.fresh()
			few.attachPatiently(p)
			few.must(p.unpin())
			few.detach(p)
		}
		if got := few.fill(smallFits); got != smallFits {
			few.errorf("%d of %d addresses are left", got, smallFits)
		}
	}},
	{Name: "del/touches nobody else", Level: Must, Spec: "DEL: of the attachment that is named", Run: func(r *Run) {
		one, two := r.pod("one"), r.pod("two")
		r.attach(one)
		res, _ := r.attach(two)
		three := r.pod("three")
		more, _ := r.attach(three)
		r.distinct("pods", res, more)
		r.detach(one)
		if err := two.agrees(res, "eth0"); err != nil {
			r.errorf("after DEL of another pod: %v", err)
		}
		if err := r.reach(three, two, addresses(res)[0]); err != nil {
			r.errorf("after DEL of another pod, from pod to pod: %v", err)
		}
	}},
	{Name: "del/a path that has a new owner keeps the new owner", Level: Trust, Spec: "paths of namespaces are used again; cri-o #2849", Run: func(r *Run) {
		old := r.pod("old")
		r.attach(old)
		r.must(old.unpin())
		fresh := &Pod{ID: "fresh", NetNS: old.NetNS}
		r.must(fresh.pin())
		res, _ := r.attach(fresh)
		r.wants("DEL of the old container, whose path is another's now", r.call(request{verb: "DEL", pod: old}))
		if err := fresh.agrees(res, "eth0"); err != nil {
			r.errorf("the late DEL took the new container's interface: %v", err)
		}
	}},
}
