package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

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
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	ctaFilterReply     = 2

	filterProtoNum = 1 << 3
	filterProtoSrc = 1 << 4
	filterProtoDst = 1 << 5
)

// ForgetStale drops the UDP flows to p's host ports that lead elsewhere.
func ForgetStale(p Pod) error {
	for _, port := range p.Ports {
		if port.Protocol != "udp" {
			continue
		}
		for _, v4 := range []bool{true, false} {
			target, ok := p.target(port, v4)
			if !ok {
				continue
			}
			proto := nested(nl.CTA_TUPLE_PROTO, attr(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_UDP}),
				attr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, port.HostPort)))
			filter := nested(ctaFilter, attr(ctaFilterOrigFlags, nl.Uint32Attr(filterProtoNum|filterProtoDst)))
			err := forget(v4, func(f flow) bool { return f.replySource != target }, nested(nl.CTA_TUPLE_ORIG, proto), filter)
			if err != nil {
				return fmt.Errorf("forget UDP flows to host port %d: %w", port.HostPort, err)
			}
		}
	}
	return nil
}

// ForgetPod drops the UDP flows that lead to p by its host ports.
func ForgetPod(p Pod) error {
	for _, port := range p.Ports {
		if port.Protocol != "udp" {
			continue
		}
		for _, v4 := range []bool{true, false} {
			target, ok := p.target(port, v4)
			if !ok {
				continue
			}
			// By the port and not by the address: the kernel's filter on IPv6
			// addresses lets through what it should not and the reverse.
			proto := nested(nl.CTA_TUPLE_PROTO, attr(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_UDP}),
				attr(nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, port.ContainerPort)))
			filter := nested(ctaFilter, attr(ctaFilterReply, nl.Uint32Attr(filterProtoNum|filterProtoSrc)))
			err := forget(v4, func(f flow) bool { return f.replySource == target }, nested(nl.CTA_TUPLE_REPLY, proto), filter)
			if err != nil {
				return fmt.Errorf("forget UDP flows to %s: %w", target, err)
			}
		}
	}
	return nil
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
	// identity is the attributes by which the kernel finds it again.
	identity [][]byte
}

func attr(kind int, data []byte) *nl.RtAttr { return nl.NewRtAttr(kind, data) }

func nested(kind int, children ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, c := range children {
		a.AddChild(c)
	}
	return a
}

func request(message, flags int, v4 bool) *nl.NetlinkRequest {
	family := uint8(unix.AF_INET6)
	if v4 {
		family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|message, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// forget deletes the entries that pass the kernel's filter and then ours.
func forget(v4 bool, ours func(flow) bool, tuple, filter *nl.RtAttr) error {
	var list [][]byte
	var err error
	for range 5 {
		req := request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, v4)
		req.AddData(tuple)
		req.AddData(filter)
		list, err = req.Execute(unix.NETLINK_NETFILTER, 0)
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return err
	}
	for _, message := range list {
		f, err := parseFlow(message)
		if err != nil {
			return err
		}
		if !ours(f) {
			continue
		}
		req := request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, v4)
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

// parseFlow picks the attributes out of one message: the tuple of the original
// direction, zone and id to find it again, and the source of the replies.
func parseFlow(message []byte) (flow, error) {
	const header = 4 // nfgenmsg
	const ctaTupleOrig, ctaTupleReply, ctaID, ctaZone = 1, 2, 12, 18
	var f flow
	if len(message) < header {
		return f, fmt.Errorf("conntrack: a message of %d bytes", len(message))
	}
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
			f.replySource = replySource(b[unix.SizeofNlAttr:size])
		}
		b = b[padded:]
	}
	return f, nil
}

// replySource finds the source address in a tuple.
func replySource(tuple []byte) netip.Addr {
	outer, err := nl.ParseRouteAttr(tuple)
	if err != nil {
		return netip.Addr{}
	}
	for _, o := range outer {
		if o.Attr.Type&nl.NLA_TYPE_MASK != nl.CTA_TUPLE_IP {
			continue
		}
		inner, err := nl.ParseRouteAttr(o.Value)
		if err != nil {
			return netip.Addr{}
		}
		for _, i := range inner {
			if t := i.Attr.Type & nl.NLA_TYPE_MASK; t == nl.CTA_IP_V4_SRC || t == nl.CTA_IP_V6_SRC {
				a, _ := netip.AddrFromSlice(i.Value)
				return a
			}
		}
	}
	return netip.Addr{}
}
