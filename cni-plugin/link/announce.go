package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Announce tells the subnet which MAC address has these addresses now: a freed
// address that is leased again would otherwise be sent to its old owner's MAC
// for up to a minute.
//
// A packet socket would do for both families, but closing one takes the kernel
// a grace period of ten milliseconds.
func (p *Pod) Announce(name string, index int, addrs []netip.Prefix) error {
	if len(addrs) == 0 {
		return nil
	}
	mac, err := waitUp(p.h, name)
	if err != nil {
		return fmt.Errorf("in %s: %w", p.path, err)
	}
	for _, a := range addrs {
		announce := p.announce4
		if a.Addr().Is6() {
			announce = p.announce6
		}
		if err := announce(index, mac, a.Addr()); err != nil {
			return fmt.Errorf("in %s: announce %s: %w", p.path, a.Addr(), err)
		}
	}
	return nil
}

// announce4 makes the kernel ask who has a, which it does under the address
// itself: a gratuitous ARP request (RFC 5227, 3). The entry that it keeps for
// the answer goes at once.
func (p *Pod) announce4(index int, _ net.HardwareAddr, a netip.Addr) error {
	entry := &netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, IP: a.AsSlice(), Flags: netlink.NTF_USE}
	if err := p.h.NeighAdd(entry); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	entry.Flags = 0
	if err := p.h.NeighDel(entry); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// announce6 sends an unsolicited neighbour advertisement (RFC 4861, 7.2.6).
func (p *Pod) announce6(index int, mac net.HardwareAddr, a netip.Addr) error {
	na := []byte{136, 0, 0, 0, 0x20, 0, 0, 0}     // the checksum is the kernel's
	na = append(append(na, a.AsSlice()...), 2, 1) // target, then its link-layer address
	na = append(na, mac...)
	return p.do(func() error {
		s, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		// A hop limit of 255 says that it comes from this very link.
		for _, o := range [][2]int{{unix.IPV6_MULTICAST_HOPS, 255}, {unix.IPV6_MULTICAST_IF, index}} {
			if err := unix.SetsockoptInt(s, unix.IPPROTO_IPV6, o[0], o[1]); err != nil {
				return err
			}
		}
		if err := unix.Bind(s, &unix.SockaddrInet6{Addr: a.As16()}); err != nil {
			return err
		}
		allNodes := netip.MustParseAddr("ff02::1").As16()
		return unix.Sendto(s, na, 0, &unix.SockaddrInet6{Addr: allNodes, ZoneId: uint32(index)})
	})
}
