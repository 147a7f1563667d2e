// Package firewall gets the pods' packets through the host's other firewalls.
// An accept in the table inet varve cannot override another table's drop, so
// where a foreign FORWARD chain drops by default, exactly one rule of ours
// goes into it, which accepts what our own table has marked (rules.ForwardBit):
//
//	plain nftables, iptables-nft  one rule, over netlink
//	iptables-legacy               one rule, by one call of iptables
//	firewalld                     the subnet becomes a source of the zone
//	                              trusted, over D-Bus; its own table is
//	                              rewritten at every reload
//
// The rule carries the comment "varve-cni" and goes to the end of the chain,
// or before the rule that drops the rest, so that everything that the
// administrator refuses by name stays refused. Nothing else of a foreign table
// is ever touched. This is the only package of the plug-in that may start a
// process, and only for iptables-legacy.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
)

// Comment marks our rules in foreign chains.
const Comment = "varve-cni"

// Drop is a foreign chain that drops what it does not know.
type Drop struct {
	// Chain names it for people: "ip filter FORWARD", "iptables-legacy FORWARD".
	Chain string
	// Open means that our rule is there.
	Open bool
	// Blocked says why our rule cannot be put there, "" when it can.
	Blocked string

	open  func() error // puts the rule there
	close func() error // takes it away
}

// Wall is a look at the host's firewalls, by connections of its own.
type Wall struct {
	conn *nftables.Conn
	// sources are the subnets that firewalld is told of.
	sources []netip.Prefix
}

// Open opens the netlink socket. Close releases it. sources are the subnets of
// the network.
func Open(sources []netip.Prefix) (*Wall, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	return &Wall{conn, sources}, nil
}

// Close releases the socket.
func (w *Wall) Close() {
	_ = w.conn.CloseLasting() // everything was flushed
}

// Drops lists the foreign chains that drop by default. With all false it looks
// only where the known programs have them, at a cost that does not depend on
// the size of the rule set; with all it lists every chain of the host.
func (w *Wall) Drops(all bool) ([]Drop, error) {
	chains, err := w.knownChains()
	if all {
		chains, err = w.allChains()
	}
	if err != nil {
		return nil, err
	}
	var out []Drop
	for _, c := range chains {
		d, drops, err := w.look(c)
		if err != nil {
			return nil, err
		}
		if drops {
			out = append(out, d)
		}
	}
	legacy, err := legacyDrops()
	return append(out, legacy...), err
}

// Allow puts our rule into every chain that drops. The caller sees to it that
// no two do so at once.
func (w *Wall) Allow(drops []Drop) error {
	var errs []error
	for _, d := range drops {
		switch {
		case d.Open:
		case d.Blocked != "":
			errs = append(errs, fmt.Errorf("%s drops forwarded packets, and no rule for the pods can be put there: %s", d.Chain, d.Blocked))
		default:
			if err := d.open(); err != nil {
				errs = append(errs, fmt.Errorf("%s drops forwarded packets, and the rule for the pods cannot be put there: %w", d.Chain, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Withdraw takes our rules out of every foreign chain.
func (w *Wall) Withdraw() error {
	drops, err := w.Drops(true)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range drops {
		if d.Open {
			errs = append(errs, d.close())
		}
	}
	return errors.Join(errs...)
}
