package attach

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/link"
)

// Check compares what the record and prevResult say with what the kernel has,
// and lists every difference. It changes nothing.
func (e *Engine) Check(call Call) error {
	c, err := Parse(call.Stdin, call.Args)
	if err != nil {
		return err
	}
	if c.Prev == nil {
		return fail(types.ErrInvalidNetworkConfig, "prevResult: missing: CHECK compares with it")
	}
	s, err := e.open(c, call.Stamp)
	if err != nil {
		return err
	}
	defer s.close()
	pod, err := openPod(call.Netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	k := call.key(c.Network)
	lock, err := s.store.Lock(k)
	if err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	l, err := s.store.Get(k)
	if isMissing(err) {
		return fail(types.ErrUnknownContainer, "%s: nothing is recorded: ADD it first", k)
	}
	if err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	faults, err := s.faults(l, pod)
	if err != nil {
		return coded(CodeKernel, err)
	}
	if len(faults) > 0 {
		return fail(CodeCheck, "%s: %s: DEL and ADD it again", k, strings.Join(faults, "; "))
	}
	return nil
}

// faults lists what is not as the record says.
func (s *session) faults(l *ipam.Lease, pod *link.Pod) ([]string, error) {
	if l.Boot != s.store.Boot() || l.State != ipam.Attached {
		return []string{fmt.Sprintf("its ADD did not complete in this boot (state %s)", l.State)}, nil
	}
	var out []string
	if l.NetnsCookie != 0 && l.NetnsCookie != pod.Cookie() {
		out = append(out, "the network namespace is another than the one that was attached")
	}
	if ok, err := s.LinkExists(l.Link); err != nil {
		return nil, err
	} else if !ok {
		out = append(out, fmt.Sprintf("the host link %s (index %d) is gone or another", l.Link.Name, l.Link.Index))
	}
	inPod, err := s.podFaults(l, pod)
	if err != nil {
		return nil, err
	}
	fx, err := recorded(l)
	if err != nil {
		return nil, err
	}
	if ok, err := s.host.IsPort(l.Link.Name, fx.Bridge); err != nil {
		return nil, err
	} else if !ok {
		out = append(out, fmt.Sprintf("%s is not a port of bridge %s", l.Link.Name, fx.Bridge))
	}
	shapers, err := s.shaperFaults(l, fx)
	if err != nil {
		return nil, err
	}
	out = append(append(out, inPod...), shapers...)
	if fx.Rules == nil {
		return out, nil
	}
	t, err := s.rules()
	if err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		out = append(out, err.Error())
	}
	missing, err := t.Missing(*fx.Rules)
	for _, m := range missing {
		out = append(out, m+" is missing")
	}
	return out, err
}

// podFaults compares the pod's end with the record and with prevResult.
func (s *session) podFaults(l *ipam.Lease, pod *link.Pod) ([]string, error) {
	var out []string
	st, err := pod.Inspect(l.IfName)
	if errors.Is(err, link.ErrNotFound) {
		return []string{fmt.Sprintf("%s is not in the network namespace", l.IfName)}, nil
	}
	if err != nil {
		return nil, err
	}
	if !st.Up {
		out = append(out, l.IfName+" is down")
	}
	if st.PeerIndex != l.Link.Index {
		out = append(out, fmt.Sprintf("%s is not the other end of %s", l.IfName, l.Link.Name))
	}
	for _, a := range l.Addresses {
		if !slices.Contains(st.Addresses, a.Prefix) {
			out = append(out, fmt.Sprintf("%s has not the address %s", l.IfName, a.Prefix))
		}
	}
	for _, i := range s.config.Prev.Interfaces {
		if i.Name == l.IfName && i.Sandbox == l.Netns && i.Mac != "" && i.Mac != st.MAC.String() {
			out = append(out, fmt.Sprintf("%s has MAC address %s, prevResult says %s", l.IfName, st.MAC, i.Mac))
		}
	}
	for _, ip := range s.prevIPs(l) {
		if !slices.ContainsFunc(l.Addresses, func(a ipam.Address) bool { return a.Prefix.String() == ip }) {
			out = append(out, fmt.Sprintf("prevResult has the address %s, the record has not", ip))
		}
	}
	missing, err := pod.MissingRoutes(st.Index, s.podInterface(l, s.routes(l)).Routes)
	for _, r := range missing {
		out = append(out, "the route "+r+" is missing")
	}
	return out, err
}

// prevIPs are prevResult's addresses on the attachment's interface.
func (s *session) prevIPs(l *ipam.Lease) []string {
	var out []string
	for _, ip := range s.config.Prev.IPs {
		if i := owner(s.config.Prev, ip); i != nil && i.Name == l.IfName && i.Sandbox == l.Netns {
			out = append(out, ip.Address.String())
		}
	}
	return out
}

func owner(r *current.Result, ip *current.IPConfig) *current.Interface {
	if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(r.Interfaces) {
		return nil
	}
	return r.Interfaces[*ip.Interface]
}

func (s *session) shaperFaults(l *ipam.Lease, fx effects) ([]string, error) {
	if fx.Limits == (Limits{}) {
		return nil, nil
	}
	buckets, ingress, err := s.host.Shapers(l.Link.Name)
	if errors.Is(err, link.ErrNotFound) {
		return nil, nil // said already
	}
	if err != nil {
		return nil, err
	}
	var out []string
	if fx.Limits.IngressRate > 0 && buckets == 0 {
		out = append(out, "the limit on what the pod receives is missing")
	}
	if fx.IFB == "" {
		return out, nil
	}
	buckets, _, err = s.host.Shapers(fx.IFB)
	if err != nil && !errors.Is(err, link.ErrNotFound) {
		return nil, err
	}
	if ingress == 0 || buckets == 0 {
		out = append(out, "the limit on what the pod sends is missing")
	}
	return out, nil
}
