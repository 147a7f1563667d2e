package link

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridge describes the bridge that a network wants.
type Bridge struct {
	Name string
	// MTU of a new bridge; 0: that of the link of the default route.
	MTU     int
	Promisc bool
	// Gateways are the addresses that it must have.
	Gateways []netip.Prefix
	// Force replaces another address that is in the way.
	Force bool
}

// EnsureBridge makes the bridge where it is missing, adopts it where it is
// there, and gives it what it lacks. It never takes anything away but an
// address that Force allows it to replace.
func (h *Host) EnsureBridge(b Bridge) (*netlink.Bridge, error) {
	l, err := h.ByName(b.Name)
	if errors.Is(err, ErrNotFound) {
		l, err = h.addBridge(b)
	}
	if err != nil {
		return nil, err
	}
	br, ok := l.(*netlink.Bridge)
	if !ok {
		return nil, fmt.Errorf("bridge %s: a link of this name exists and is a %s: name another, or remove it", b.Name, l.Type())
	}
	if b.Promisc && br.Promisc == 0 {
		if err := h.h.SetPromiscOn(br); err != nil {
			return nil, fmt.Errorf("bridge %s: make promiscuous: %w", b.Name, err)
		}
	}
	if br.Flags&net.FlagUp == 0 {
		if err := h.h.LinkSetUp(br); err != nil {
			return nil, fmt.Errorf("bridge %s: bring up: %w", b.Name, err)
		}
	}
	return br, h.ensureAddrs(br, b)
}

// addBridge makes the bridge with a MAC address of its own. Without one it
// would take the lowest of its ports', which changes as pods come and go, and
// the pods' neighbour entries for their gateway with it.
func (h *Host) addBridge(b Bridge) (netlink.Link, error) {
	mac := make(net.HardwareAddr, 6)
	if _, err := rand.Read(mac); err != nil {
		return nil, err
	}
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = b.Name, mac
	if attrs.MTU = b.MTU; attrs.MTU == 0 {
		attrs.MTU = h.uplinkMTU()
	}
	made := &netlink.Bridge{LinkAttrs: attrs}
	err := h.h.LinkAdd(made)
	if err == nil {
		err = h.h.LinkSetAlias(made, bridgeAlias) // the kernel takes none with a new link
	}
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return nil, fmt.Errorf("bridge %s: make: %w", b.Name, err)
	}
	if hasIPv6() {
		// A router's own interface takes no other router's word, and its
		// addresses are usable at once.
		for _, s := range []string{"accept_ra", "accept_dad"} {
			if err := SetSysctl("net/ipv6/conf/"+b.Name+"/"+s, "0"); err != nil {
				return nil, err
			}
		}
	}
	return h.ByName(b.Name)
}

// uplinkMTU is the MTU of the link of the default route, 0 when there is none:
// a pod's packets that leave the node must fit it.
func (h *Host) uplinkMTU() int {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := retry(func() ([]netlink.Route, error) {
			return h.h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			continue
		}
		for _, r := range routes {
			if (r.Dst != nil && !isDefault(r.Dst)) || r.LinkIndex == 0 {
				continue
			}
			if l, err := h.h.LinkByIndex(r.LinkIndex); err == nil {
				return l.Attrs().MTU
			}
		}
	}
	return 0
}

func isDefault(n *net.IPNet) bool {
	ones, _ := n.Mask.Size()
	return ones == 0
}

func (h *Host) ensureAddrs(br *netlink.Bridge, b Bridge) error {
	if len(b.Gateways) == 0 {
		return nil
	}
	addrs, err := retry(func() ([]netlink.Addr, error) { return h.h.AddrList(br, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("bridge %s: list addresses: %w", b.Name, err)
	}
	for _, gw := range b.Gateways {
		if err := h.ensureAddr(br, gw, addrs, b.Force); err != nil {
			return fmt.Errorf("bridge %s: %w", b.Name, err)
		}
	}
	return nil
}

func (h *Host) ensureAddr(br *netlink.Bridge, gw netip.Prefix, addrs []netlink.Addr, force bool) error {
	for i := range addrs {
		have, ok := prefixOf(addrs[i].IPNet)
		if ok && have == gw {
			return nil
		}
		if !ok || have.Addr().Is4() != gw.Addr().Is4() || !have.Overlaps(gw) {
			continue
		}
		if !force {
			return fmt.Errorf("it has the address %s, which is in the way of %s: set forceAddress, or remove it with: ip addr del %s dev %s",
				have, gw, have, br.Name)
		}
		if err := h.h.AddrDel(br, &addrs[i]); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s: %w", have, err)
		}
	}
	if err := h.h.AddrAdd(br, kernelAddr(gw, false)); err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("add address %s: %w", gw, err)
	}
	return nil
}

// kernelAddr is p as netlink wants it. Without detect, an IPv6 address skips
// duplicate address detection, which would keep it unusable for a second.
func kernelAddr(p netip.Prefix, detect bool) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() && !detect {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}
