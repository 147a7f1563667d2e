package link

import (
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// latency is how long a packet waits in a shaper's queue before it is dropped:
// the reference bandwidth plug-in's.
const latency = 0.025 // seconds

// Shape limits what a link sends to rate bits per second, with bursts of burst
// bits, by a token bucket at its root.
func (h *Host) Shape(index int, rate, burst uint64) error {
	bytes := rate / 8
	ticks := math.Min(float64(burst/8)*netlink.TIME_UNITS_PER_SEC/float64(bytes)*netlink.TickInUsec(), math.MaxUint32)
	err := h.h.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       bytes,
		Buffer:     uint32(ticks),
		Limit:      uint32(math.Min(float64(bytes)*latency+float64(burst/8), math.MaxUint32)),
	})
	if err != nil {
		return fmt.Errorf("shape to %d bit/s: %w", rate, err)
	}
	return nil
}

// AddIFB makes an intermediate link, down and without an alias, which the
// kernel takes none of with a new link.
func (h *Host) AddIFB(name string, mtu int) (index int, err error) {
	if err := h.addIFB(name, mtu); err != nil {
		return 0, fmt.Errorf("make %s: %w", name, err)
	}
	l, err := h.ByName(name)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// Redirect brings an intermediate link up under its alias, and sends everything
// that link from receives through it, where it can be shaped.
func (h *Host) Redirect(from, to int, name, alias string) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(to)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	if err := h.execute(req); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return h.redirect(from, to)
}

// addIFB makes the link in one message.
func (h *Host) addIFB(name string, mtu int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	req.AddData(nl.NewRtAttr(unix.IFLA_TXQLEN, nl.Uint32Attr(1000)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("ifb"))
	req.AddData(info)
	return h.execute(req)
}

// redirect sends what one link receives out of another.
func (h *Host) redirect(from, to int) error {
	qdisc := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: from, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
	if err := h.h.QdiscAdd(qdisc); err != nil {
		return fmt.Errorf("add an ingress qdisc: %w", err)
	}
	// A u32 filter without a condition matches everything, as matchall would,
	// which not every kernel has.
	err := h.h.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: from, Parent: qdisc.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		ClassId:     netlink.MakeHandle(1, 1),
		Actions:     []netlink.Action{netlink.NewMirredAction(to)},
	})
	if err != nil {
		return fmt.Errorf("redirect to the shaper: %w", err)
	}
	return nil
}

// Shapers counts the token buckets and redirections of a link, for a check.
func (h *Host) Shapers(name string) (buckets, ingress int, err error) {
	l, err := h.ByName(name)
	if err != nil {
		return 0, 0, err
	}
	list, err := retry(func() ([]netlink.Qdisc, error) { return h.h.QdiscList(l) })
	for _, q := range list {
		switch q.Type() {
		case "tbf":
			buckets++
		case "ingress":
			ingress++
		}
	}
	return buckets, ingress, err
}
