package attach

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/link"
)

// gateways are the bridge's addresses, one per range that a lease came from.
func gateways(l *ipam.Lease) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range l.Addresses {
		out = append(out, netip.PrefixFrom(a.Gateway, a.Prefix.Bits()))
	}
	return out
}

func (s *session) bridge(l *ipam.Lease) link.Bridge {
	b := link.Bridge{Name: s.config.Bridge, MTU: s.config.MTU, Promisc: s.config.Promisc, Force: s.config.ForceAddress}
	if s.config.IsGateway {
		b.Gateways = gateways(l)
	}
	return b
}

// forward turns on routing in the host for the families that the bridge is a
// gateway of.
func (s *session) forward(l *ipam.Lease) error {
	if !s.config.IsGateway {
		return nil
	}
	for _, a := range l.Addresses {
		enable := link.EnableForwarding4
		if a.Prefix.Addr().Is6() {
			enable = link.EnableForwarding6
		}
		if err := enable(); err != nil {
			return err
		}
	}
	return nil
}

// routes are those of the configuration and, for a default gateway, one per
// family that the configuration leaves out. A route without a gateway goes by
// the one of its family.
func (s *session) routes(l *ipam.Lease) []*types.Route {
	byFamily := map[bool]net.IP{}
	for _, a := range l.Addresses {
		if v4 := a.Prefix.Addr().Is4(); byFamily[v4] == nil {
			byFamily[v4] = a.Gateway.AsSlice()
		}
	}
	var out []*types.Route
	seen := map[bool]bool{}
	for _, r := range s.config.Routes {
		v4 := r.Dst.IP.To4() != nil
		if ones, _ := r.Dst.Mask.Size(); ones == 0 {
			seen[v4] = true
		}
		out = append(out, r.Copy())
	}
	if s.config.IsDefaultGateway {
		for _, v4 := range []bool{true, false} {
			if gw := byFamily[v4]; gw != nil && !seen[v4] {
				bits := len(gw) * 8
				out = append(out, &types.Route{Dst: net.IPNet{IP: make(net.IP, len(gw)), Mask: net.CIDRMask(0, bits)}, GW: gw})
			}
		}
	}
	return out
}

func (s *session) podInterface(l *ipam.Lease, routes []*types.Route) link.Interface {
	want := link.Interface{Name: l.IfName, DAD: s.config.DAD}
	gws := map[bool]net.IP{}
	for _, a := range l.Addresses {
		want.Addresses = append(want.Addresses, a.Prefix)
		if v4 := a.Prefix.Addr().Is4(); gws[v4] == nil {
			gws[v4] = a.Gateway.AsSlice()
		}
	}
	for _, r := range routes {
		kr := netlink.Route{Gw: r.GW, MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority}
		dst := r.Dst
		kr.Dst = &dst
		if r.Table != nil {
			kr.Table = *r.Table
		}
		if r.Scope != nil {
			kr.Scope = netlink.Scope(*r.Scope)
		}
		// A link-scoped route is reached directly; any other without a
		// gateway goes by the range's.
		if kr.Gw == nil && kr.Scope != netlink.SCOPE_LINK {
			kr.Gw = gws[r.Dst.IP.To4() != nil]
		}
		want.Routes = append(want.Routes, kr)
	}
	return want
}

// result is prevResult with our interfaces, addresses and routes behind it.
// The container's interface is the last of interfaces.
func (s *session) result(l *ipam.Lease, routes []*types.Route, interfaces []*current.Interface) (*current.Result, error) {
	res := &current.Result{CNIVersion: current.ImplementedSpecVersion}
	if s.config.Prev != nil {
		res = s.config.Prev
		res.CNIVersion = current.ImplementedSpecVersion
	}
	res.Interfaces = append(res.Interfaces, interfaces...)
	pod := len(res.Interfaces) - 1
	for _, a := range l.Addresses {
		ip := &current.IPConfig{Interface: current.Int(pod), Address: ipNet(a)}
		if s.config.IsGateway || s.config.IsDefaultGateway || len(routes) > 0 {
			ip.Gateway = a.Gateway.AsSlice()
		}
		res.IPs = append(res.IPs, ip)
	}
	res.Routes = append(res.Routes, routes...)
	dns, err := s.dns()
	if err != nil {
		return nil, err
	}
	if !dns.IsEmpty() {
		res.DNS = dns
	}
	return res, nil
}

// dns is the configuration's, else what the file ipam.resolvConf says.
func (s *session) dns() (types.DNS, error) {
	if !s.config.DNS.IsEmpty() || s.config.ResolvConf == "" {
		return s.config.DNS, nil
	}
	f, err := os.Open(s.config.ResolvConf)
	if err != nil {
		return types.DNS{}, fail(types.ErrIOFailure, "ipam.resolvConf: %v", err)
	}
	defer f.Close()
	var dns types.DNS
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || strings.ContainsAny(words[0][:1], "#;") {
			continue
		}
		switch words[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, words[1])
		case "domain":
			dns.Domain = words[1]
		case "search":
			dns.Search = words[1:]
		case "options":
			dns.Options = words[1:]
		}
	}
	if err := lines.Err(); err != nil {
		return types.DNS{}, fail(types.ErrIOFailure, "ipam.resolvConf %s: %v", s.config.ResolvConf, err)
	}
	return dns, nil
}
