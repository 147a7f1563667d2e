package link

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announce tells the subnet which MAC address has these addresses now, by a
// gratuitous ARP request (RFC 5227, 3) or an unsolicited neighbour
// advertisement (RFC 4861, 7.2.6) for each: a freed address that is leased
// again would otherwise be sent to its old owner's MAC for up to a minute.
func (p *Pod) Announce(index int, mac net.HardwareAddr, addrs []netip.Prefix) error {
	if len(addrs) == 0 {
		return nil
	}
	err := p.do(func() error {
		s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		for _, a := range addrs {
			frame := gratuitousARP(mac, a.Addr())
			if a.Addr().Is6() {
				frame = unsolicitedNA(mac, a.Addr())
			}
			if err := unix.Sendto(s, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("in %s: announce the addresses: %w", p.path, err)
	}
	return nil
}

func ethernet(to, from net.HardwareAddr, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte{}, to...), from...), kind)
}

func gratuitousARP(mac net.HardwareAddr, a netip.Addr) []byte {
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	f := ethernet(all, mac, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, sizes, request
	f = append(append(f, mac...), a.AsSlice()...)
	return append(append(f, make([]byte, 6)...), a.AsSlice()...)
}

func unsolicitedNA(mac net.HardwareAddr, a netip.Addr) []byte {
	to := netip.MustParseAddr("ff02::1") // all nodes
	na := []byte{136, 0, 0, 0, 0x20, 0, 0, 0}
	na = append(append(na, a.AsSlice()...), 2, 1) // target, then its link-layer address
	na = append(na, mac...)
	binary.BigEndian.PutUint16(na[2:], checksum6(a, to, na))
	f := ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0, 0, byte(len(na)), unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, a.AsSlice()...), to.AsSlice()...)
	return append(f, na...)
}

// checksum6 is the internet checksum over pseudo header and message (RFC 8200,
// 8.1).
func checksum6(from, to netip.Addr, message []byte) uint16 {
	b := append(append([]byte{}, from.AsSlice()...), to.AsSlice()...)
	b = append(b, 0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	b = append(b, message...)
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
