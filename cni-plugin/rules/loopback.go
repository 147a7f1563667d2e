package rules

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Host ports on the host's own loopback addresses.
//
// A packet with a loopback address does not leave a host: IPv4 has the sysctl
// route_localnet for it, which opens the host's loopback services to the link
// (CVE-2020-8558), and IPv6 has nothing. So the loopback address is taken off
// before the packet is tracked, and put back behind everything that would mind:
//
//	output, raw       ::1 -> ::1:8080            source becomes the gateway's
//	output, nat       gw -> ::1:8080             destination becomes the pod's
//	postrouting, nat  gw -> pod:80               masquerade: a port of its own
//	input, nat        pod:80 -> gw becomes ::1:8080 -> gw, by conntrack
//	input, nat + 10   ::1:8080 -> gw             destination becomes ::1
//
// What comes in under a loopback address by another link than lo can only be
// such an answer: the kernel drops others before.

const lo6Out, lo6In = "lo6-out", "lo6-in"

// loopbackOut matches the host's packets from its loopback address to one, by
// a port that the map has, and loads the gateway's address.
func (m match) loopbackOut(set *nftables.Set, v4, byHost bool) match {
	from, to, size := source6, loopback6, uint32(4)
	if v4 {
		from, to, size = source4, loopback4, 1
	}
	m = m.within(from, true).within(to, false)
	if byHost {
		m = m.addr(v4, false, reg1).portKey(size)
	} else {
		m = m.portKey(0)
	}
	return append(m, &expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: set.Name, SetID: set.ID})
}

// loopbackIn matches answers that came back to a loopback address's name, and
// loads the address that asked.
func (m match) loopbackIn(v4 bool) match {
	from, back := loopback6, source6
	if v4 {
		from, back = loopback4, source4
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	m = append(m, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: name})
	return append(m.within(from, true), &expr.Immediate{Register: reg1, Data: back.Addr().AsSlice()})
}

// setAddr4 writes the source or destination address, and mends the checksums
// of IP header and transport.
func (m match) setAddr4(source bool) match {
	offset := uint32(16)
	if source {
		offset = 12
	}
	return append(m, &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4,
		CsumType: expr.CsumTypeInet, CsumOffset: 10, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
	})
}

// setAddr6 is the same for IPv6, whose header has no checksum. The library
// cannot say "none in the header, but mend the transport's", so this one
// statement is encoded here.
func setAddr6(source bool) ([]byte, error) {
	offset := uint32(24)
	if source {
		offset = 8
	}
	var data []netlink.Attribute
	for _, a := range [][2]uint32{
		{unix.NFTA_PAYLOAD_SREG, reg1}, {unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER},
		{unix.NFTA_PAYLOAD_OFFSET, offset}, {unix.NFTA_PAYLOAD_LEN, 16},
		{unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_NONE}, {unix.NFTA_PAYLOAD_CSUM_OFFSET, 0},
		{unix.NFTA_PAYLOAD_CSUM_FLAGS, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR},
	} {
		data = append(data, netlink.Attribute{Type: uint16(a[0]), Data: binaryutil.BigEndian.PutUint32(a[1])})
	}
	inner, err := netlink.MarshalAttributes(data)
	if err != nil {
		return nil, err
	}
	return netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_EXPR_NAME, Data: []byte("payload\x00")},
		{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: inner},
	})
}

// addLoopback6 fills the chains for ::1, which are there and empty, in a
// transaction of its own.
func addLoopback6(n *named) error {
	var batch []netlink.Message
	frame := func(kind int) {
		batch = append(batch, netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request},
			Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
		})
	}
	frame(unix.NFNL_MSG_BATCH_BEGIN)
	for _, r := range []struct {
		chain  string
		match  match
		source bool
	}{
		{lo6Out, match{}.loopbackOut(n.loHost[1], false, true), true},
		{lo6Out, match{}.loopbackOut(n.loAny[1], false, false), true},
		{lo6In, match{}.loopbackIn(false), false},
	} {
		message, err := ruleMessage(r.chain, r.match, r.source)
		if err != nil {
			return err
		}
		batch = append(batch, message)
	}
	frame(unix.NFNL_MSG_BATCH_END)
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // every answer has been read
	if _, err := conn.SendMessages(batch); err != nil {
		return err
	}
	for range len(batch) - 2 {
		if _, err := conn.Receive(); err != nil {
			return err
		}
	}
	return nil
}

// ruleMessage is one rule that ends in setAddr6.
func ruleMessage(chain string, m match, source bool) (netlink.Message, error) {
	var list []netlink.Attribute
	add := func(data []byte, err error) error {
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
		return err
	}
	for _, e := range m {
		if err := add(expr.Marshal(byte(table.Family), e)); err != nil {
			return netlink.Message{}, err
		}
	}
	if err := add(setAddr6(source)); err != nil {
		return netlink.Message{}, err
	}
	exprs, err := netlink.MarshalAttributes(list)
	if err != nil {
		return netlink.Message{}, err
	}
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(TableName + "\x00")},
		{Type: unix.NFTA_RULE_CHAIN, Data: []byte(chain + "\x00")},
		{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: exprs},
	})
	if err != nil {
		return netlink.Message{}, fmt.Errorf("chain %s: %w", chain, err)
	}
	return netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE),
			Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Append,
		},
		Data: append([]byte{byte(table.Family), unix.NFNETLINK_V0, 0, 0}, attrs...),
	}, nil
}
