package ipam

import (
	"fmt"
	"net/netip"
)

// Range is a span of addresses of one subnet from which attachments are
// served. Make one with NewRange, which fills in host-local's defaults.
type Range struct {
	Subnet  netip.Prefix
	Start   netip.Addr // first address, inclusive
	End     netip.Addr // last address, inclusive
	Gateway netip.Addr // never leased
}

// RangeSet is a list of ranges of one family; an attachment gets one address
// out of each set.
type RangeSet []Range

// NewRange checks a range and fills in what is not given, as host-local does:
// the gateway is the first address of the subnet, the range all of it but
// the network's own address and, in IPv4, the broadcast address. The error
// names field and value.
func NewRange(subnet netip.Prefix, start, end, gateway netip.Addr) (Range, error) {
	switch {
	case !subnet.IsValid():
		return Range{}, fmt.Errorf("subnet: missing")
	case subnet != subnet.Masked():
		return Range{}, fmt.Errorf("subnet %s has host bits set: did you mean %s?", subnet, subnet.Masked())
	case subnet.Bits() > subnet.Addr().BitLen()-2:
		return Range{}, fmt.Errorf("subnet %s is too small to allocate from: it needs two host bits at least", subnet)
	}
	first, last := subnet.Addr().Next(), lastAddr(subnet)
	if !start.IsValid() {
		start = first
	}
	if !end.IsValid() {
		end = last
	}
	if !gateway.IsValid() {
		gateway = first
	}
	for _, f := range []struct {
		name string
		addr netip.Addr
	}{{"rangeStart", start}, {"rangeEnd", end}} {
		if !subnet.Contains(f.addr) {
			return Range{}, fmt.Errorf("%s %s is not in subnet %s", f.name, f.addr, subnet)
		}
		if f.addr.Less(first) || last.Less(f.addr) {
			return Range{}, fmt.Errorf("%s %s cannot be used by a host of %s: the first and last are %s and %s",
				f.name, f.addr, subnet, first, last)
		}
	}
	if !subnet.Contains(gateway) {
		return Range{}, fmt.Errorf("gateway %s is not in subnet %s", gateway, subnet)
	}
	if end.Less(start) {
		return Range{}, fmt.Errorf("rangeEnd %s comes before rangeStart %s", end, start)
	}
	if start == end && start == gateway {
		return Range{}, fmt.Errorf("rangeStart %s to rangeEnd %s holds no address but the gateway", start, end)
	}
	return Range{subnet, start, end, gateway}, nil
}

// lastAddr is the last address of p that a host may have.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	if last.Is4() {
		return last.Prev()
	}
	return last
}

// Contains tells whether a may be leased from r.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.Start.BitLen() && !a.Less(r.Start) && !r.End.Less(a) && a != r.Gateway
}

// String is "START-END", which also names the range in the index.
func (r Range) String() string { return r.Start.String() + "-" + r.End.String() }

// find returns the range of s that may lease a.
func (s RangeSet) find(a netip.Addr) (Range, bool) {
	for _, r := range s {
		if r.Contains(a) {
			return r, true
		}
	}
	return Range{}, false
}

func (s RangeSet) String() string {
	text := ""
	for i, r := range s {
		if i > 0 {
			text += ","
		}
		text += r.String()
	}
	return text
}

// CheckSets refuses sets that are empty, mix families or overlap. The error
// names the place as ranges[I][J].
func CheckSets(sets []RangeSet) error {
	type place struct {
		r    Range
		name string
	}
	var seen []place
	for i, set := range sets {
		if len(set) == 0 {
			return fmt.Errorf("ranges[%d] is empty: give it a subnet or remove it", i)
		}
		for j, r := range set {
			name := fmt.Sprintf("ranges[%d][%d]", i, j)
			if r.Start.Is4() != set[0].Start.Is4() {
				return fmt.Errorf("%s %s: one set holds one address family: put IPv4 and IPv6 into sets of their own", name, r.Subnet)
			}
			for _, o := range seen {
				if o.r.Start.BitLen() == r.Start.BitLen() && !r.End.Less(o.r.Start) && !o.r.End.Less(r.Start) {
					return fmt.Errorf("%s %s overlaps %s %s", name, r, o.name, o.r)
				}
			}
			seen = append(seen, place{r, name})
		}
	}
	return nil
}
