package doctor

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// inNewNetns runs f in a network namespace of its own, which ends with it.
func inNewNetns(f func() error) (err error) {
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = own.Close() }()
	made, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("unshare: %w", err)
	}
	defer func() { _ = made.Close() }()
	defer func() {
		if back := netns.Set(own); back != nil {
			// The thread stays locked, and ends with this goroutine
			// instead of serving others in the wrong namespace.
			err = errors.Join(err, fmt.Errorf("leave the probe's namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

func probeLink(kind string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe"
	var link netlink.Link = &netlink.Bridge{LinkAttrs: attrs}
	if kind == "veth" {
		link = &netlink.Veth{LinkAttrs: attrs, PeerName: "probe-peer"}
	}
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// probeNftables commits the two kinds of rule that the network plug-in lives
// on, in one transaction: the kernel takes all of it or says what it lacks.
func probeNftables() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: "probe", Family: nftables.TableFamilyINet})
	source := conn.AddChain(&nftables.Chain{
		Name: "source", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: source, Exprs: []expr.Any{&expr.Masq{}}})
	target := conn.AddChain(&nftables.Chain{
		Name: "target", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: target, Exprs: []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{192, 0, 2, 1}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nftables.TableFamilyIPv4), RegAddrMin: 1},
	}})
	return conn.Flush()
}
