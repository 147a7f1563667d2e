package suite

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"
)

// result reads what ADD answered, in the form of the version that was asked
// for, and demands that form.
func (s *Subject) result(a Answer, asked string) (*current.Result, error) {
	if !a.ok() {
		return nil, fmt.Errorf("%s", a)
	}
	var form struct {
		CNIVersion string `json:"cniVersion"`
		IPs        []struct {
			Version string `json:"version"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(a.Stdout, &form); err != nil {
		return nil, fmt.Errorf("stdout is no JSON object: %w: %s", err, short(a.Stdout))
	}
	if form.CNIVersion != asked {
		return nil, fmt.Errorf("the result's cniVersion is %q, asked was %q", form.CNIVersion, asked)
	}
	// ips[].version was in the form until 1.0.0, which took it out.
	old := !atLeast(asked, "1.0.0")
	for i, ip := range form.IPs {
		if old != (ip.Version != "") {
			return nil, fmt.Errorf("ips[%d].version is %q in a result of version %s", i, ip.Version, asked)
		}
	}
	parsed, err := create.Create(asked, a.Stdout)
	if err != nil {
		return nil, fmt.Errorf("the result cannot be read as version %s: %w: %s", asked, err, short(a.Stdout))
	}
	return current.NewResultFromResult(parsed)
}

func atLeast(v, least string) bool {
	ok, err := version.GreaterThanOrEqualTo(v, least)
	return err == nil && ok
}

// attach adds the pod and demands a result.
func (r *Run) attach(p *Pod) (*current.Result, json.RawMessage) {
	return r.attachAs(request{verb: "ADD", pod: p})
}

func (r *Run) attachAs(q request) (*current.Result, json.RawMessage) {
	asked := q.version
	if asked == "" {
		asked = r.Version
	}
	a := r.call(q)
	res, err := r.result(a, asked)
	if err != nil {
		r.fatalf("ADD of %s: %v", q.pod.ID, err)
	}
	return res, a.Stdout
}

// detach deletes the pod's attachment and demands success.
func (r *Run) detach(p *Pod) {
	r.wants("DEL of "+p.ID, r.call(request{verb: "DEL", pod: p}))
}

// agrees holds a result against the pod's kernel state.
func (p *Pod) agrees(res *current.Result, ifname string) error {
	h, err := p.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	index := slices.IndexFunc(res.Interfaces, func(i *current.Interface) bool { return i.Name == ifname && i.Sandbox != "" })
	if index < 0 {
		return fmt.Errorf("the result lists no interface %s with a sandbox", ifname)
	}
	claimed := res.Interfaces[index]
	if claimed.Sandbox != p.NetNS {
		return fmt.Errorf("the result says sandbox %q, CNI_NETNS was %q", claimed.Sandbox, p.NetNS)
	}
	link, err := h.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("the pod has no interface %s: %w", ifname, err)
	}
	if mac := link.Attrs().HardwareAddr.String(); claimed.Mac != "" && claimed.Mac != mac {
		return fmt.Errorf("the result says MAC %s, the interface has %s", claimed.Mac, mac)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("the pod's interface %s is down", ifname)
	}
	return agreeAddresses(h, link, res, index)
}

func agreeAddresses(h *netlink.Handle, link netlink.Link, res *current.Result, index int) error {
	have, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i, ip := range res.IPs {
		if ip.Interface != nil && (*ip.Interface < 0 || *ip.Interface >= len(res.Interfaces)) {
			return fmt.Errorf("ips[%d].interface is %d of %d interfaces", i, *ip.Interface, len(res.Interfaces))
		}
		if ip.Interface != nil && *ip.Interface != index {
			continue
		}
		if !slices.ContainsFunc(have, func(a netlink.Addr) bool { return a.IPNet.String() == ip.Address.String() }) {
			return fmt.Errorf("the result says %s, the interface has %v", ip.Address.String(), have)
		}
	}
	routes, err := h.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, want := range res.Routes {
		if !slices.ContainsFunc(routes, func(r netlink.Route) bool { return matches(r, want) }) {
			return fmt.Errorf("the result says route %s, the pod has %v", want.Dst.String(), routes)
		}
	}
	return nil
}

func matches(have netlink.Route, want *types.Route) bool {
	dst := want.Dst.String()
	return have.Dst != nil && have.Dst.String() == dst && (want.GW == nil || want.GW.Equal(have.Gw))
}

// addresses are the pod's own, of a result.
func addresses(res *current.Result) (list []net.IP) {
	for _, ip := range res.IPs {
		list = append(list, ip.Address.IP)
	}
	return list
}
