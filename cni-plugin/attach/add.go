package attach

import (
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/link"
	"github.com/varve-project/varve/cni-plugin/rules"
	"github.com/varve-project/varve/internal/failpoint"
)

// Add attaches the container and returns the result in the form of the newest
// spec. When it fails, what it had done is undone; what cannot be undone stays
// recorded and is undone by the next DEL, ADD or GC.
func (e *Engine) Add(call Call) (*current.Result, string, error) {
	c, err := Parse(call.Stdin, call.Args)
	if err != nil {
		return nil, "", err
	}
	s, err := e.open(c, call.Stamp)
	if err != nil {
		return nil, "", err
	}
	defer s.close()
	pod, err := openPod(call.Netns)
	if err != nil {
		return nil, "", err
	}
	defer pod.Close()
	k := call.key(c.Network)
	lock, err := s.store.Lock(k)
	if err != nil {
		return nil, "", fail(types.ErrIOFailure, "%v", err)
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	if err := s.admit(k, pod); err != nil {
		return nil, "", err
	}
	res, err := s.add(k, call.Netns, pod)
	return res, c.CNIVersion, err
}

func openPod(path string) (*link.Pod, error) {
	pod, err := link.OpenPod(path)
	if errors.Is(err, link.ErrNoNamespace) {
		return nil, fail(types.ErrInvalidNetNS, "CNI_NETNS: %v", err)
	}
	if err != nil {
		return nil, fail(CodeKernel, "%v", err)
	}
	if same, err := pod.IsHost(); err != nil || same {
		pod.Close()
		if err != nil {
			return nil, fail(CodeKernel, "%v", err)
		}
		return nil, fail(types.ErrInvalidNetNS, "CNI_NETNS %s is the host's own namespace", path)
	}
	return pod, nil
}

// admit decides whether an ADD may go ahead, and clears away what an earlier
// one of the same key left.
func (s *session) admit(k ipam.Key, pod *link.Pod) error {
	buried, err := s.store.Buried(k, s.stamp)
	if err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	if buried {
		return fail(CodeOvertaken, "%s: a DEL was asked for after this ADD, which therefore does nothing", k)
	}
	l, err := s.store.Get(k)
	if isMissing(err) {
		return nil
	}
	var broken *ipam.BrokenError
	if errors.As(err, &broken) {
		// Whatever it said, it can only have been about this key, whose lock
		// is ours and whose link's name we know.
		return s.undoUnread(k)
	}
	if err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	exists, err := s.LinkExists(l.Link)
	if err != nil {
		return fail(CodeKernel, "%v", err)
	}
	if l.State == ipam.Attached && l.Boot == s.store.Boot() && exists && l.NetnsCookie == pod.Cookie() {
		return fail(CodeAttached, "%s is attached already, with host link %s: DEL it first", k, l.Link.Name)
	}
	return s.undo(l)
}

// add writes the record and then does what it says.
func (s *session) add(k ipam.Key, netns string, pod *link.Pod) (*current.Result, error) {
	l := &ipam.Lease{
		Version: ipam.RecordVersion, Key: k, State: ipam.Adding, Boot: s.store.Boot(), Stamp: s.stamp,
		Written: time.Now().UTC().Format(time.RFC3339Nano), Netns: netns, NetnsCookie: pod.Cookie(),
		Link: ipam.Link{Name: hostName(k), Alias: hostAlias(k, s.stamp)},
	}
	if err := s.allocate(l); err != nil {
		return nil, err
	}
	res, err := s.effect(l, pod)
	if err == nil {
		return res, nil
	}
	err = coded(CodeKernel, err)
	if undoErr := s.undo(l); undoErr != nil {
		err = fail(CodeKernel, "%v; and what was done is not all undone, DEL or GC will: %v", err, undoErr)
	}
	return nil, err
}

func (s *session) allocate(l *ipam.Lease) error {
	req := ipam.Request{Sets: s.config.Ranges, Wanted: s.config.Wanted, Rest: s.config.Rest, Complete: s.complete}
	err := s.store.Allocate(l, req)
	var full *ipam.ExhaustedError
	var used *ipam.InUseError
	if errors.As(err, &full) || errors.As(err, &used) {
		// Only now is it worth looking for leases that nobody holds any more.
		if _, reclaimErr := s.reclaim(); reclaimErr == nil {
			err = s.store.Allocate(l, req)
		}
	}
	full, used = nil, nil
	switch {
	case err == nil:
		return nil
	case errors.As(err, &full) && full.Resting > 0:
		return fail(types.ErrTryAgainLater, "network %s: %v", s.config.Network, err)
	case errors.As(err, &full):
		return fail(CodeExhausted, "network %s: %v: delete containers, or widen ipam.ranges", s.config.Network, err)
	case errors.As(err, &used):
		return fail(CodeTaken, "network %s: %v: ask for another, or delete that container", s.config.Network, err)
	case errors.Is(err, ipam.ErrNotInRange):
		return fail(types.ErrInvalidNetworkConfig, "%v", err)
	}
	return fail(types.ErrIOFailure, "%v", err)
}

// complete puts what the ADD is about to do into the record, as soon as its
// addresses are known and before it is written.
func (s *session) complete(l *ipam.Lease) (err error) {
	l.Effects, err = json.Marshal(s.planned(l))
	return err
}

// effect makes everything that the record names, and closes the record. The
// rules come first: a host port that is taken is found before anything is
// made, and the kernel forgets old flows while the links are made.
func (s *session) effect(l *ipam.Lease, pod *link.Pod) (*current.Result, error) {
	fx, err := recorded(l)
	if err != nil {
		return nil, err
	}
	if err := s.addRules(fx.Rules); err != nil {
		return nil, err
	}
	forget := behind(func() error {
		if fx.Rules == nil {
			return nil
		}
		failpoint.Hit("cni.add.flows.before")
		defer failpoint.Hit("cni.add.flows.after")
		return rules.ForgetStale(*fx.Rules)
	})
	pass := behind(func() error {
		if fx.Rules == nil {
			return nil
		}
		if s.installed { // the first ADD of a boot
			_ = s.sweep() // the next one meets what this one could not free
		}
		return s.passForward(s.installed)
	})
	res, err := s.links(l, fx, pod)
	for _, wait := range []func() error{forget, pass} {
		if waitErr := wait(); err == nil {
			err = waitErr
		}
	}
	if err != nil {
		return nil, err
	}
	l.State = ipam.Attached
	if l.Result, err = json.Marshal(res); err != nil {
		return nil, err
	}
	return res, s.store.Update(l)
}

// links makes the bridge and the pair, and what hangs on them.
func (s *session) links(l *ipam.Lease, fx effects, pod *link.Pod) (*current.Result, error) {
	failpoint.Hit("cni.add.forward.before")
	if err := s.forward(l); err != nil {
		return nil, err
	}
	failpoint.Hit("cni.add.forward.after")
	failpoint.Hit("cni.add.bridge.before")
	bridge, err := s.host.EnsureBridge(s.bridge(l))
	if err != nil {
		return nil, err
	}
	failpoint.Hit("cni.add.bridge.after")
	mtu := s.config.MTU
	if mtu == 0 {
		mtu = bridge.MTU
	}
	veth := link.Veth{
		Name: l.Link.Name, Alias: l.Link.Alias, MTU: mtu, Bridge: bridge.Index, Hairpin: s.config.Hairpin,
		Isolated: s.config.PortIsolation, PodIfName: l.IfName, PodMAC: s.config.MAC,
	}
	failpoint.Hit("cni.add.veth.before")
	if err := s.host.AddVeth(veth, pod); err != nil {
		return nil, err
	}
	failpoint.Hit("cni.add.veth.after")
	end, err := pod.Find(l.IfName)
	if err != nil {
		return nil, err
	}
	// Before the links come up: a queueing discipline of a link that is up is
	// changed at the price of a grace period, under the lock of all links.
	if err := s.shape(l, fx, end.PeerIndex, mtu); err != nil {
		return nil, err
	}
	failpoint.Hit("cni.add.pod.before")
	routes := s.routes(l)
	if err := pod.Configure(end.Index, s.podInterface(l, routes)); err != nil {
		return nil, err
	}
	failpoint.Hit("cni.add.pod.after")
	failpoint.Hit("cni.add.port.before")
	if err := s.host.Port(end.PeerIndex, veth); err != nil {
		return nil, err
	}
	failpoint.Hit("cni.add.port.after")
	l.Link.Index = end.PeerIndex
	hostMAC, err := s.host.Forwarding(l.Link.Name)
	if err != nil {
		return nil, err
	}
	if err := pod.Announce(l.IfName, end.Index, s.podInterface(l, nil).Addresses); err != nil {
		return nil, err
	}
	return s.result(l, routes, []*current.Interface{
		{Name: bridge.Name, Mac: bridge.HardwareAddr.String(), Mtu: bridge.MTU},
		{Name: l.Link.Name, Mac: hostMAC.String(), Mtu: mtu},
		{Name: l.IfName, Mac: end.MAC.String(), Mtu: mtu, Sandbox: l.Netns},
	})
}

// ipNet is a prefix as CNI results have it.
func ipNet(a ipam.Address) net.IPNet {
	p := a.Prefix
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
