package rules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel remembers where the packets of a UDP flow go for as long as they
// keep coming. A flow that began before its host port led to this pod would go
// on to the old place for ever, so both ADD and DEL make the kernel forget. It
// is asked only for the entries concerned (CTA_FILTER, Linux 5.8): a table of
// a million flows is not read for a handful.

// Attribute numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaFilter      = 25
	ctaFilterOrig  = 1
	ctaFilterReply = 2

	filterProtoNum = 1 << 3
	filterProtoSrc = 1 << 4
	filterProtoDst = 1 << 5
)

// ForgetStale drops the UDP flows to p's host ports, on addresses of this host,
// that lead elsewhere.
func ForgetStale(p Pod) error {
	list := p.udp()
	if len(list) == 0 {
		return nil
	}
	stale := func(f flow) bool {
		for _, port := range list {
			target, ok := p.target(port, f.replySource.Is4())
			everywhere := !port.HostIP.IsValid() || port.HostIP.IsUnspecified()
			if ok && port.HostPort == f.port && f.replySource != target && (everywhere || port.HostIP == f.destination) {
				return true
			}
		}
		return false
	}
	q := query{nl.CTA_TUPLE_ORIG, ctaFilterOrig, nl.CTA_PROTO_DST_PORT, filterProtoDst, same(list, func(p Port) uint16 { return p.HostPort })}
	if err := q.forget(p, stale, true); err != nil {
		return fmt.Errorf("forget UDP flows to the host ports of %s: %w", p.Owner, err)
	}
	return nil
}

// ForgetPod drops the UDP flows that lead to p by its host ports.
func ForgetPod(p Pod) error {
	list := p.udp()
	if len(list) == 0 {
		return nil
	}
	mine := func(f flow) bool { return slices.Contains(p.Addresses, f.replySource) }
	// By the port and not by the address: the kernel's filter on IPv6
	// addresses lets through what it should not and the reverse.
	q := query{nl.CTA_TUPLE_REPLY, ctaFilterReply, nl.CTA_PROTO_SRC_PORT, filterProtoSrc, same(list, func(p Port) uint16 { return p.ContainerPort })}
	if err := q.forget(p, mine, false); err != nil {
		return fmt.Errorf("forget UDP flows to %s: %w", p.Owner, err)
	}
	return nil
}

func (p Pod) udp() []Port {
	var out []Port
	for _, port := range p.Ports {
		if port.Protocol == "udp" {
			out = append(out, port)
		}
	}
	return out
}

// same is the one port of all in list, 0 when they differ.
func same(list []Port, of func(Port) uint16) uint16 {
	for _, p := range list {
		if of(p) != of(list[0]) {
			return 0
		}
	}
	return of(list[0])
}

// target is the pod's address that a port of this family leads to.
func (p Pod) target(port Port, v4 bool) (netip.Addr, bool) {
	for _, a := range p.Addresses {
		if a.Is4() == v4 {
			return a, port.Serves(a)
		}
	}
	return netip.Addr{}, false
}

// flow is an entry of the kernel's table as far as it matters here.
type flow struct {
	replySource netip.Addr
	// destination and port are those of the original direction.
	destination netip.Addr
	port        uint16
	// identity is the attributes by which the kernel finds it again.
	identity [][]byte
	family   uint8
}

func attr(kind int, data []byte) *nl.RtAttr { return nl.NewRtAttr(kind, data) }

func nested(kind int, children ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, c := range children {
		a.AddChild(c)
	}
	return a
}

func request(message, flags int, family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|message, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// query is what the kernel is asked for: UDP entries with this port in this
// place; port 0 is any.
type query struct {
	tuple, filter, portKind, portFlag int
	port                              uint16
}

// forget deletes the entries that pass the kernel's filter and then ours, and
// with toHost only those to an address of this host. The kernel walks its whole
// table, which takes milliseconds however few entries it has, once for each
// family: the two go at the same time, and none where nothing is tracked.
func (q query) forget(p Pod, ours func(flow) bool, toHost bool) error {
	if count, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count"); err == nil && string(bytes.TrimSpace(count)) == "0" {
		return nil
	}
	list, err := q.bothFamilies(p, ours)
	if err != nil || len(list) == 0 {
		return err
	}
	if toHost {
		local, err := localAddrs()
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(f flow) bool { return !f.destination.IsLoopback() && !local[f.destination] })
	}
	for _, f := range list {
		req := request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, f.family)
		for _, raw := range f.identity {
			req.AddRawData(raw)
		}
		// Gone meanwhile is what was wanted.
		if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// bothFamilies asks for those families that p has.
func (q query) bothFamilies(p Pod, ours func(flow) bool) ([]flow, error) {
	var lists [2][]flow
	var errs [2]error
	var walks sync.WaitGroup
	for i, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if slices.ContainsFunc(p.Addresses, func(a netip.Addr) bool { return a.Is4() == (family == unix.AF_INET) }) {
			walks.Go(func() { lists[i], errs[i] = q.flows(family, ours) })
		}
	}
	walks.Wait()
	return append(lists[0], lists[1]...), errors.Join(errs[:]...)
}

// flows asks the kernel for the entries of a family.
func (q query) flows(family uint8, ours func(flow) bool) ([]flow, error) {
	proto := nested(nl.CTA_TUPLE_PROTO, attr(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_UDP}))
	flags := uint32(filterProtoNum)
	if q.port != 0 {
		proto.AddChild(attr(q.portKind, binary.BigEndian.AppendUint16(nil, q.port)))
		flags |= uint32(q.portFlag)
	}
	var list [][]byte
	var err error
	for range 5 {
		req := request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, family)
		req.AddData(nested(q.tuple, proto))
		req.AddData(nested(ctaFilter, attr(q.filter, nl.Uint32Attr(flags))))
		list, err = req.Execute(unix.NETLINK_NETFILTER, 0)
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return nil, err
	}
	var out []flow
	for _, message := range list {
		f, err := parseFlow(message)
		if err != nil {
			return nil, err
		}
		if ours(f) {
			out = append(out, f)
		}
	}
	return out, nil
}

// localAddrs are the addresses of this host.
func localAddrs() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out[p.Addr().Unmap().WithZone("")] = true
		}
	}
	return out, nil
}

// parseFlow picks the attributes out of one message: the tuple of the original
// direction, zone and id to find it again, and the source of the replies.
func parseFlow(message []byte) (flow, error) {
	const header = 4 // nfgenmsg
	const ctaTupleOrig, ctaTupleReply, ctaID, ctaZone = 1, 2, 12, 18
	var f flow
	if len(message) < header {
		return f, fmt.Errorf("conntrack: a message of %d bytes", len(message))
	}
	f.family = message[0]
	for b := message[header:]; len(b) >= unix.SizeofNlAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return f, fmt.Errorf("conntrack: an attribute of %d bytes in %d", size, len(b))
		}
		padded := min((size+3)&^3, len(b))
		switch binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case ctaTupleOrig, ctaID, ctaZone:
			f.identity = append(f.identity, b[:padded])
		case ctaTupleReply:
			f.replySource = address(b[unix.SizeofNlAttr:size], nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC)
		}
		if binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK == ctaTupleOrig {
			f.destination = address(b[unix.SizeofNlAttr:size], nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST)
			if p := inTuple(b[unix.SizeofNlAttr:size], nl.CTA_TUPLE_PROTO, nl.CTA_PROTO_DST_PORT); len(p) == 2 {
				f.port = binary.BigEndian.Uint16(p)
			}
		}
		b = b[padded:]
	}
	return f, nil
}

// address finds the address of one kind in a tuple.
func address(tuple []byte, v4, v6 uint16) netip.Addr {
	a, ok := netip.AddrFromSlice(inTuple(tuple, nl.CTA_TUPLE_IP, v4))
	if !ok {
		a, _ = netip.AddrFromSlice(inTuple(tuple, nl.CTA_TUPLE_IP, v6))
	}
	return a
}

// inTuple returns the value of an attribute of a part of a tuple, nil when
// there is none.
func inTuple(tuple []byte, part, kind uint16) []byte {
	outer, err := nl.ParseRouteAttr(tuple)
	if err != nil {
		return nil
	}
	for _, o := range outer {
		if o.Attr.Type&nl.NLA_TYPE_MASK != part {
			continue
		}
		inner, err := nl.ParseRouteAttr(o.Value)
		if err != nil {
			return nil
		}
		for _, i := range inner {
			if i.Attr.Type&nl.NLA_TYPE_MASK == kind {
				return i.Value
			}
		}
	}
	return nil
}
