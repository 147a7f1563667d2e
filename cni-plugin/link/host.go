package link

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrNotFound means that the kernel has no such link.
var ErrNotFound = errors.New("no such link")

// Host is the namespace that the program runs in. It is used by one goroutine.
type Host struct {
	sockets map[int]*nl.SocketHandle
	h       *netlink.Handle
}

// OpenHost opens the netlink socket. Close releases it.
func OpenHost() (*Host, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &Host{h: h}, nil
}

// Close releases the socket.
func (h *Host) Close() { h.h.Close() }

// retry repeats a call that the kernel interrupted: EINTR, or a dump during
// which the table changed (NLM_F_DUMP_INTR), whose result may be short.
func retry[T any](call func() (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		out, err := call()
		interrupted := errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, unix.EINTR)
		if !interrupted || attempt == 20 {
			return out, err
		}
	}
}

func byName(h *netlink.Handle, name string) (netlink.Link, error) {
	l, err := retry(func() (netlink.Link, error) { return h.LinkByName(name) })
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("look up link %s: %w", name, err)
	}
	return l, nil
}

// ByName looks a link up. The error wraps ErrNotFound when there is none.
func (h *Host) ByName(name string) (netlink.Link, error) { return byName(h.h, name) }

// Exists tells whether the link of this name has this alias, and this index
// unless it is 0.
func (h *Host) Exists(name, alias string, index int) (bool, error) {
	l, err := h.ByName(name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	a := l.Attrs()
	return a.Alias == alias && (index == 0 || a.Index == index), nil
}

// List returns every link of the host.
func (h *Host) List() ([]netlink.Link, error) {
	return retry(h.h.LinkList)
}

// Veth describes a pair: one end here, the other made in the pod's namespace
// at once, so that it never appears here under a name of the pod's.
type Veth struct {
	Name    string
	Alias   string
	MTU     int
	Bridge  int // index of the bridge
	Hairpin bool
	// Isolated ports of a bridge do not see each other.
	Isolated bool

	PodIfName string
	PodMAC    net.HardwareAddr // nil: the kernel chooses
}

// AddVeth makes the pair. Both ends are down and of no bridge.
func (h *Host) AddVeth(v Veth, pod *Pod) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = v.Name, v.MTU
	// One queue is what a pair uses by default. Unless it is asked for, the
	// kernel makes one for each processor and takes them away again, at the
	// price of a grace period for each end, under the lock of all links.
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	err := h.h.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: v.PodIfName, PeerHardwareAddr: v.PodMAC,
		PeerNamespace: netlink.NsFd(pod.fd), PeerNumTxQueues: 1, PeerNumRxQueues: 1,
	})
	if err != nil {
		return fmt.Errorf("make veth pair %s and %s in %s: %w", v.Name, v.PodIfName, pod.path, err)
	}
	return nil
}

// Port marks the host's end as ours, puts it into the bridge and brings it up:
// one message. It gets no IPv6 link-local address, which a bridge port has no
// use for.
func (h *Host) Port(index int, v Veth) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(v.Alias)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(v.Bridge))))
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, nl.Uint8Attr(nl.IN6_ADDR_GEN_MODE_NONE))
	if hasIPv6() {
		req.AddData(spec)
	}
	if err := h.execute(req); err != nil {
		return fmt.Errorf("put %s into the bridge: %w", v.Name, err)
	}
	if !v.Hairpin && !v.Isolated {
		return nil
	}
	return h.portFlags(index, v)
}

// portFlags sets what only the bridge's own message family can.
func (h *Host) portFlags(index int, v Veth) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	req.AddData(msg)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	for attr, on := range map[int]bool{nl.IFLA_BRPORT_MODE: v.Hairpin, nl.IFLA_BRPORT_ISOLATED: v.Isolated} {
		if on {
			port.AddRtAttr(attr, nl.Uint8Attr(1))
		}
	}
	req.AddData(port)
	if err := h.execute(req); err != nil {
		return fmt.Errorf("set bridge port flags of %s: %w", v.Name, err)
	}
	return nil
}

// execute sends one request over the handle's own socket.
func (h *Host) execute(req *nl.NetlinkRequest) error {
	if h.sockets == nil {
		s, err := nl.Subscribe(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		h.sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	}
	req.Sockets = h.sockets
	_, err := retry(func() (struct{}, error) {
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return struct{}{}, err
	})
	return err
}

// Forwarding waits until a bridge port forwards, for a second at most, and
// returns its address.
func (h *Host) Forwarding(name string) (net.HardwareAddr, error) { return waitUp(h.h, name) }

// waitUp waits until a link carries packets. The kernel learns of the carrier
// in the background, usually before it is asked, at each end of a pair by
// itself; a packet before that would be lost.
func waitUp(h *netlink.Handle, name string) (net.HardwareAddr, error) {
	for wait := 100 * time.Microsecond; ; wait *= 2 {
		l, err := byName(h, name)
		if err != nil {
			return nil, err
		}
		if l.Attrs().OperState == netlink.OperUp {
			return l.Attrs().HardwareAddr, nil
		}
		if wait > 500*time.Millisecond {
			return nil, fmt.Errorf("link %s does not come up: its state is %s", name, l.Attrs().OperState)
		}
		time.Sleep(wait)
	}
}

// IsPort tells whether a link is a port of a bridge. An absent one is not.
func (h *Host) IsPort(name, bridge string) (bool, error) {
	l, err := h.ByName(name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	br, err := h.ByName(bridge)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && l.Attrs().MasterIndex == br.Attrs().Index, err
}
