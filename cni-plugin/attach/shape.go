package attach

import (
	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/internal/failpoint"
)

// shape limits the pod's traffic. What it receives is what the host's end
// sends; what it sends goes through an intermediate link on its way in, as
// only sending can be shaped.
func (s *session) shape(l *ipam.Lease, fx effects, port, mtu int) error {
	if fx.Limits.IngressRate > 0 {
		failpoint.Hit("cni.add.ingress.before")
		if err := s.host.Shape(port, fx.Limits.IngressRate, fx.Limits.IngressBurst); err != nil {
			return err
		}
		failpoint.Hit("cni.add.ingress.after")
	}
	if fx.IFB == "" {
		return nil
	}
	failpoint.Hit("cni.add.ifb.before")
	ifb, err := s.host.AddIFB(fx.IFB, mtu)
	if err != nil {
		return err
	}
	failpoint.Hit("cni.add.ifb.after")
	if err := s.host.Shape(ifb, fx.Limits.EgressRate, fx.Limits.EgressBurst); err != nil {
		return err
	}
	failpoint.Hit("cni.add.redirect.before")
	defer failpoint.Hit("cni.add.redirect.after")
	return s.host.Redirect(port, ifb, fx.IFB, l.Link.Alias)
}
