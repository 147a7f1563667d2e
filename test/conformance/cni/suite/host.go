package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/varve-project/varve/test/leak"
)

// host is what the node's kernel holds beyond what package leak counts.
type host struct {
	kernel leak.Snapshot
	rest   []string // addresses, routes, rules, queueing disciplines
}

// scope: everything of the node is the case's own.
var scope = leak.Scope{OwnMounts: true, OwnNetwork: true}

func look() (h host, err error) {
	if h.kernel, err = leak.Take(scope); err != nil {
		return h, err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return h, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return h, err
		}
		for _, a := range addresses {
			// A link-local address is the kernel's doing.
			if a.Scope != int(netlink.SCOPE_LINK) {
				h.rest = append(h.rest, fmt.Sprintf("address %s on %s", a.IPNet, l.Attrs().Name))
			}
		}
		disciplines, err := netlink.QdiscList(l)
		if err != nil {
			return h, err
		}
		for _, q := range disciplines {
			if q.Type() != "noqueue" && q.Type() != "noop" {
				h.rest = append(h.rest, fmt.Sprintf("queueing discipline %s on %s", q.Type(), l.Attrs().Name))
			}
		}
	}
	// The main table; the kernel keeps the local one by itself.
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return h, err
	}
	for _, route := range routes {
		if route.Dst != nil && !route.Dst.IP.IsLinkLocalUnicast() && !route.Dst.IP.IsMulticast() {
			h.rest = append(h.rest, fmt.Sprintf("route to %s by %s", route.Dst, names[route.LinkIndex]))
		}
	}
	rules, err := netlink.RuleList(netlink.FAMILY_ALL)
	if err != nil {
		return h, err
	}
	for _, rule := range rules {
		h.rest = append(h.rest, "policy "+rule.String())
	}
	return h, nil
}

// warm attaches a pod and detaches it, so that what the first pod of a node
// brings for good (a bridge, chains) is there, and looks at the node.
func (r *Run) warm() host { return r.warmWith(nil) }

func (r *Run) warmWith(caps map[string]any) host {
	p := r.pod("warm")
	r.wants("ADD of the node's first pod", r.call(request{verb: "ADD", pod: p, caps: caps}))
	r.wants("DEL of the node's first pod", r.call(request{verb: "DEL", pod: p, caps: caps}))
	r.must(p.unpin())
	return r.settled()
}

// settled looks at the node once nothing changes any more: links and their
// routes go behind the call that removed them.
func (r *Run) settled() host {
	before, err := look()
	r.must(err)
	for {
		time.Sleep(50 * time.Millisecond)
		now, err := look()
		r.must(err)
		if len(left(before, now)) == 0 && len(left(now, before)) == 0 {
			return now
		}
		before = now
	}
}

// left lists what now holds and before did not.
func left(before, now host) (list []string) {
	for _, item := range leak.Diff(before.kernel, now.kernel) {
		// The pods are the suite's own.
		if item.Kind != leak.Process && !strings.Contains(item.Text, namespaces+"/") {
			list = append(list, item.String())
		}
	}
	for _, thing := range now.rest {
		if !slices.Contains(before.rest, thing) {
			list = append(list, thing)
		}
	}
	return list
}

// leavesNothing demands that the node holds within the patience what it held
// before, and no more.
func (r *Run) leavesNothing(before host, after string) {
	ctx, cancel := context.WithTimeout(context.Background(), min(r.Patience, 10*time.Second))
	defer cancel()
	for {
		now, err := look()
		r.must(err)
		list := left(before, now)
		if len(list) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			r.errorf("%s leaves %d things behind: %s", after, len(list), some(list))
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// some is the beginning of a long list.
func some(list []string) string {
	const most = 6
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
