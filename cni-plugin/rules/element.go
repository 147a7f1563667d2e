package rules

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

type prefix = netip.Prefix

var (
	loopback4  = netip.MustParsePrefix("127.0.0.0/8")
	loopback6  = netip.MustParsePrefix("::1/128")
	source4    = netip.MustParsePrefix("127.0.0.1/32") // what the kernel chooses
	source6    = netip.MustParsePrefix("::1/128")
	multicast4 = netip.MustParsePrefix("224.0.0.0/4")
	multicast6 = netip.MustParsePrefix("ff00::/8")
)

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// placed is an element with the map that it belongs into.
type placed struct {
	set *nftables.Set
	nftables.SetElement
	// port is set for an element that stands for a host port.
	port *Port
	// shared elements are several pods' and are left in place.
	shared bool
	// loopback elements go with those of the port, whose owner is theirs.
	loopback bool
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// elements lists what p has in the maps.
func (p Pod) elements(n *named) []placed {
	var out []placed
	add := func(s *nftables.Set, e nftables.SetElement, port *Port) {
		e.Comment = comment(p.Owner)
		out = append(out, placed{set: s, SetElement: e, port: port})
	}
	seen := map[int]bool{}
	for k, a := range p.Addresses {
		i := family(a)
		add(n.pods[i], nftables.SetElement{Key: a.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: p.Net.chain()}}, nil)
		add(n.local[i], nftables.SetElement{Key: a.AsSlice()}, nil)
		if v := p.policy(); v != nil && len(p.Ports) > 0 {
			add(n.policy[i], nftables.SetElement{Key: a.AsSlice(), VerdictData: v}, nil)
		}
		// As with the reference portmap, a pod's first address of a family
		// is the one that its host ports lead to.
		if seen[i] {
			continue
		}
		seen[i] = true
		for _, port := range p.Ports {
			if port.Serves(a) {
				s, key := portKey(n.any[i], n.host[i], port)
				add(s, nftables.SetElement{Key: key, Val: append(a.AsSlice(), be16(port.ContainerPort)...)}, &port)
			}
		}
		if k < len(p.Gateways) && len(p.Ports) > 0 && !p.NoSNAT {
			out = append(out, p.loopback(n, p.Gateways[k])...)
		}
	}
	return out
}

// policy is the verdict on marked packets to p, nil for the ordinary one.
func (p Pod) policy() *expr.Verdict {
	switch {
	case p.NoSNAT:
		return &expr.Verdict{Kind: expr.VerdictAccept}
	case p.MasqAll:
		return &expr.Verdict{Kind: expr.VerdictGoto, Chain: "masq-all"}
	}
	return nil
}

// loopback are the elements by which the host's own packets to its loopback
// addresses get the gateway's address as their source.
func (p Pod) loopback(n *named, gateway netip.Addr) []placed {
	i := family(gateway)
	out := []placed{{set: n.gateways[i], SetElement: nftables.SetElement{Key: gateway.AsSlice()}, shared: true}}
	for _, port := range p.Ports {
		if any := !port.HostIP.IsValid() || port.HostIP.IsUnspecified(); !port.Serves(gateway) || !any && !port.HostIP.IsLoopback() {
			continue
		}
		s, key := portKey(n.loAny[i], n.loHost[i], port)
		e := nftables.SetElement{Key: key, Val: gateway.AsSlice(), Comment: comment(p.Owner)}
		out = append(out, placed{set: s, SetElement: e, loopback: true})
	}
	return out
}

func portKey(everywhere, one *nftables.Set, p Port) (*nftables.Set, []byte) {
	key := append([]byte{protocols[p.Protocol], 0, 0, 0}, be16(p.HostPort)...)
	if !p.HostIP.IsValid() || p.HostIP.IsUnspecified() {
		return everywhere, key
	}
	return one, append(p.HostIP.AsSlice(), key...)
}

// be16 is a port as a quarter of a register holds it.
func be16(v uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, v), 0, 0) }

// comment is an owner as far as the kernel's 256 bytes take it.
func comment(owner string) string {
	const most = 200
	if len(owner) > most {
		return owner[:most]
	}
	return owner
}
