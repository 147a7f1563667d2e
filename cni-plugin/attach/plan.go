package attach

import (
	"encoding/json"
	"net/netip"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/rules"
)

// effects is what an ADD makes beside the veth pair, as the lease records it.
// A DEL undoes it from there: by then the configuration may be another.
type effects struct {
	Bridge string `json:"bridge"`
	// Rules is nil when the attachment needs none.
	Rules *rules.Pod `json:"rules,omitempty"`
	// IFB is the name of the link that shapes what the pod sends, "" for
	// none.
	IFB    string `json:"ifb,omitempty"`
	Limits Limits `json:"limits,omitzero"`
}

// planned says what the ADD will do to the pod with these addresses.
func (s *session) planned(l *ipam.Lease) effects {
	c := s.config
	fx := effects{Bridge: c.Bridge, Limits: c.Limits}
	if c.Limits.EgressRate > 0 {
		fx.IFB = ifbName(l.Key)
	}
	if !c.IPMasq && len(c.Ports) == 0 && !c.IsGateway || len(l.Addresses) == 0 {
		return fx
	}
	p := &rules.Pod{
		Owner: ownerName(l.Key), Ports: c.Ports, NoSNAT: !c.SNAT, MasqAll: c.MasqAll && c.SNAT,
		Net: rules.Net{Masquerade: c.IPMasq, Exceptions: c.MasqExceptions},
	}
	for _, a := range l.Addresses {
		p.Addresses = append(p.Addresses, a.Prefix.Addr())
		if c.IsGateway && c.SNAT {
			p.Gateways = append(p.Gateways, a.Gateway)
		}
	}
	for _, set := range c.Ranges {
		for _, r := range set {
			p.Net.Subnets = appendNew(p.Net.Subnets, r.Subnet)
		}
	}
	fx.Rules = p
	return fx
}

func appendNew(list []netip.Prefix, p netip.Prefix) []netip.Prefix {
	for _, have := range list {
		if have == p {
			return list
		}
	}
	return append(list, p)
}

// ownerName is how elements and messages name an attachment.
func ownerName(k ipam.Key) string { return k.Network + "/" + k.ContainerID + "@" + k.IfName }

func ifbName(k ipam.Key) string { return "vifb" + k.Hash()[:11] }

// recorded reads the effects of a lease.
func recorded(l *ipam.Lease) (effects, error) {
	var fx effects
	if len(l.Effects) == 0 {
		return fx, nil
	}
	err := json.Unmarshal(l.Effects, &fx)
	return fx, err
}
