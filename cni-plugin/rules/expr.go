package rules

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers. REG_1 to REG_4 have 16 bytes each; REG32_n are their quarters.
const (
	reg1    = unix.NFT_REG_1
	reg4    = unix.NFT_REG_4
	quarter = unix.NFT_REG32_00
)

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDNAT = 1 << 5

// match is a rule under construction, one statement after the other.
type match []expr.Any

// family matches packets of one address family.
func (m match) family(v4 bool) match {
	proto := byte(unix.NFPROTO_IPV6)
	if v4 {
		proto = unix.NFPROTO_IPV4
	}
	return append(m, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{proto}})
}

// addr loads the packet's source or destination address.
func (m match) addr(v4, source bool, into uint32) match {
	p := &expr.Payload{DestRegister: into, Base: expr.PayloadBaseNetworkHeader}
	switch {
	case v4 && source:
		p.Offset, p.Len = 12, 4
	case v4:
		p.Offset, p.Len = 16, 4
	case source:
		p.Offset, p.Len = 8, 16
	default:
		p.Offset, p.Len = 24, 16
	}
	return append(m, p)
}

// within matches packets whose source or destination is in p.
func (m match) within(p netip.Prefix, source bool) match {
	v4 := p.Addr().Is4()
	size := p.Addr().BitLen() / 8
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 1 << (7 - i%8)
	}
	return append(m.family(v4).addr(v4, source, reg1),
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: p.Masked().Addr().AsSlice()})
}

// marked matches packets that hostports has marked.
func (m match) marked() match {
	bit := binaryutil.NativeEndian.PutUint32(mark)
	return append(m, &expr.Meta{Key: expr.MetaKeyMARK, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: bit, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: bit})
}

// toHost matches packets to one of the host's own addresses.
func (m match) toHost() match {
	return append(m, &expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)})
}

// portKey loads protocol and destination port behind n quarters of a register.
func (m match) portKey(n uint32) match {
	return append(m, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: quarter + n},
		&expr.Payload{DestRegister: quarter + n + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

// dnat looks the key up in a map of address and port, marks the packet and
// rewrites its destination. A miss ends the rule before the mark.
func (m match) dnat(set *nftables.Set, v4 bool) match {
	family, port := uint32(unix.NFPROTO_IPV6), uint32(quarter+4)
	if v4 {
		family, port = unix.NFPROTO_IPV4, quarter+1
	}
	m = append(m, &expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: set.Name, SetID: set.ID})
	return append(m.setMark(mark), &expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: reg1, RegProtoMin: port})
}

// verdictOf looks an address up in a verdict map and does what it says.
func (m match) verdictOf(set *nftables.Set, v4, source bool) match {
	return append(m.family(v4).addr(v4, source, reg1),
		&expr.Lookup{SourceRegister: reg1, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: set.Name, SetID: set.ID})
}

// addressIn matches packets whose source or destination is in a set.
func (m match) addressIn(set *nftables.Set, v4, source bool) match {
	return append(m.family(v4).addr(v4, source, reg1), &expr.Lookup{SourceRegister: reg1, SetName: set.Name, SetID: set.ID})
}

// conntrack matches packets of a connection that has one of these bits.
func (m match) conntrack(key expr.CtKey, bits uint32) match {
	return append(m, &expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: make([]byte, 4)})
}

// setMark adds bits to the packet's mark.
func (m match) setMark(bits uint32) match {
	return append(m, &expr.Meta{Key: expr.MetaKeyMARK, Register: reg4},
		&expr.Bitwise{SourceRegister: reg4, DestRegister: reg4, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(^bits), Xor: binaryutil.NativeEndian.PutUint32(bits)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg4, SourceRegister: true})
}

func (m match) masquerade() match { return append(m, &expr.Counter{}, &expr.Masq{}) }

func (m match) verdict(kind expr.VerdictKind, chain string) match {
	return append(m, &expr.Verdict{Kind: kind, Chain: chain})
}
