package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/varve-project/varve/internal/failpoint"
)

// firewalldTable is the table of firewalld's backend for nftables.
const firewalldTable = "firewalld"

const (
	firewalldName = "org.fedoraproject.FirewallD1"
	firewalldPath = "/org/fedoraproject/FirewallD1"
	zone          = "trusted"
)

// firewalld asks whether the network's subnets are sources of the zone
// trusted. The setting is the running one's only: a reload of firewalld drops
// it, and the next ADD puts it back.
func (w *Wall) firewalld() (Drop, error) {
	d := Drop{Chain: "inet firewalld filter_FORWARD"}
	if len(w.sources) == 0 {
		d.Open = true // nobody asks for a network
		d.close = func() error { return nil }
		return d, nil
	}
	c, err := dialBus()
	if err != nil {
		d.Blocked = fmt.Sprintf("firewalld's table is there and its D-Bus is not (%v): start firewalld, or run nft delete table inet firewalld", err)
		return d, nil
	}
	defer c.Close()
	var missing []netip.Prefix
	for _, p := range w.sources {
		there, err := firewalldZone(c, p)
		if err != nil {
			d.Blocked = fmt.Sprintf("firewalld does not answer on D-Bus: %v", err)
			return d, nil
		}
		if there != zone {
			missing = append(missing, p)
		}
	}
	d.Open = len(missing) == 0
	d.open = func() error { return changeSources("addSource", missing) }
	d.close = func() error { return changeSources("removeSource", w.sources) }
	return d, nil
}

func firewalldZone(c net.Conn, p netip.Prefix) (string, error) {
	return call(c, firewalldName, firewalldPath, firewalldName+".zone", "getZoneOfSource", p.String())
}

func changeSources(method string, list []netip.Prefix) error {
	c, err := dialBus()
	if err != nil {
		return err
	}
	defer c.Close()
	failpoint.Hit("cni.firewall.firewalld.before")
	defer failpoint.Hit("cni.firewall.firewalld.after")
	for _, p := range list {
		_, err := call(c, firewalldName, firewalldPath, firewalldName+".zone", method, zone, p.String())
		var e *busError
		if errors.As(err, &e) && slices.ContainsFunc([]string{"ZONE_ALREADY_SET", "ALREADY_ENABLED", "NOT_ENABLED", "UNKNOWN_SOURCE"},
			func(code string) bool { return strings.HasPrefix(e.text, code) }) {
			continue // as it is wanted
		}
		if err != nil {
			return fmt.Errorf("firewalld: %s %s %s: %w", method, zone, p, err)
		}
	}
	return nil
}
