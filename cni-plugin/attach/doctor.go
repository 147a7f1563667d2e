package attach

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/varve-project/varve/cni-plugin/firewall"
	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/link"
	"github.com/varve-project/varve/cni-plugin/rules"
	"github.com/varve-project/varve/internal/finding"
)

// Doctor looks at every network in dataDir and at the host's links and rules,
// changes nothing, and reports each lease with the verdict on it, and whatever
// belongs to no lease.
func (e *Engine) Doctor(dataDir string) (finding.List, error) {
	boot, err := e.boot()
	if err != nil {
		return nil, err
	}
	host, err := link.OpenHost()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	d := &doctor{dataDir: dataDir, boot: boot, host: host, links: map[string]bool{}, addrs: map[netip.Addr]bool{}}
	networks, err := ipam.Networks(dataDir)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		if err := d.network(n); err != nil {
			return nil, fmt.Errorf("network %s: %w", n, err)
		}
	}
	if err := d.orphanLinks(); err != nil {
		return nil, err
	}
	if err := d.orphanRules(); err != nil {
		return nil, err
	}
	if err := d.forwardDrops(); err != nil {
		return nil, err
	}
	d.found.Sort()
	return d.found, nil
}

type doctor struct {
	dataDir string
	boot    string
	host    *link.Host
	found   finding.List
	links   map[string]bool     // aliases' hashes with a lease
	addrs   map[netip.Addr]bool // leased
}

// LinkExists lets the store ask about links.
func (d *doctor) LinkExists(l ipam.Link) (bool, error) {
	return d.host.Exists(l.Name, l.Alias, l.Index)
}

// reclaimCommand frees what is dead; an ADD that runs short does the same.
func (d *doctor) reclaimCommand(network string) string {
	return fmt.Sprintf("varve-cni reclaim --data-dir %s --network %s", d.dataDir, network)
}

func (d *doctor) network(name string) error {
	store := ipam.View(d.dataDir, name, d.boot)
	leases, broken, err := store.Leases()
	if err != nil {
		return err
	}
	for _, l := range leases {
		verdict, err := store.Judge(l, d)
		if err != nil {
			return err
		}
		d.lease(l, verdict)
	}
	for _, b := range broken {
		d.found = append(d.found, finding.Finding{
			ID: "cni.lease.unreadable", Severity: finding.Error, Object: b.Path,
			Text:    fmt.Sprintf("The lease file cannot be read: %v.", b.Err),
			Meaning: "Which addresses it holds is known from the index only.",
			Remedy:  "Delete the container that the file is named after; if it is gone, remove the file.",
		})
	}
	held, err := store.Withheld(false)
	for _, w := range held {
		d.found = append(d.found, finding.Finding{
			ID: "cni.address.withheld", Severity: finding.Warning, Object: name + "/" + w.Addr,
			Text:    fmt.Sprintf("Address %s is withheld for %s, which has no lease: its ADD or DEL was killed.", w.Addr, w.Owner),
			Meaning: "The address is not given to anyone.", Command: d.reclaimCommand(name), Orphan: true,
		})
	}
	return err
}

func (d *doctor) lease(l *ipam.Lease, v ipam.Liveness) {
	object := ownerName(l.Key)
	var list []string
	for _, a := range l.Addresses {
		list = append(list, a.Prefix.Addr().String())
	}
	if v.Alive {
		d.links[l.Key.Hash()] = true
		for _, a := range l.Addresses {
			d.addrs[a.Prefix.Addr()] = true
		}
		d.found = append(d.found, finding.Finding{
			ID: "cni.lease.alive", Severity: finding.Info, Object: object,
			Text: fmt.Sprintf("The lease of %s is alive: %s.", strings.Join(list, " and "), v.Reason),
		})
		return
	}
	d.found = append(d.found, finding.Finding{
		ID: "cni.lease.dead", Severity: finding.Warning, Object: object,
		Text:    fmt.Sprintf("The lease of %s is dead: %s.", strings.Join(list, " and "), v.Reason),
		Meaning: "Its addresses are not given to anyone until it is freed; an ADD that finds no free address frees it by itself.",
		Command: d.reclaimCommand(l.Network), Orphan: true,
	})
}

// orphanLinks reports links with our alias and without a living lease here.
func (d *doctor) orphanLinks() error {
	links, err := d.host.List()
	if err != nil {
		return err
	}
	for _, l := range links {
		hash, ok := aliasHash(l)
		if !ok || d.links[hash] {
			continue
		}
		d.found = append(d.found, finding.Finding{
			ID: "cni.link.orphan", Severity: finding.Warning, Object: l.Attrs().Name,
			Text:    fmt.Sprintf("The link %s was made by varve-cni, and no lease in %s names it.", l.Attrs().Name, d.dataDir),
			Meaning: "It stays until it is deleted. A network with another ipam.dataDir may own it: then give doctor that --data-dir.",
			Remedy:  "If no other data folder is in use: ip link del " + l.Attrs().Name,
		})
	}
	return nil
}

func aliasHash(l netlink.Link) (string, bool) {
	rest, ok := strings.CutPrefix(l.Attrs().Alias, "varve-cni ")
	hash, _, _ := strings.Cut(rest, " ")
	return hash, ok
}

// orphanRules reports elements of addresses that nobody here leases.
func (d *doctor) orphanRules() error {
	t, err := rules.Open()
	if err != nil {
		return err
	}
	defer t.Close()
	elements, err := t.Elements()
	if err != nil {
		return err
	}
	for _, e := range elements {
		if d.addrs[e.Addr] {
			continue
		}
		d.found = append(d.found, finding.Finding{
			ID: "cni.rule.orphan", Severity: finding.Warning, Object: e.Map + "/" + e.Addr.String(),
			Text:    fmt.Sprintf("Map %s of nftables table inet %s has an element of %s for %s, and no living lease in %s has that address.", e.Map, rules.TableName, e.Owner, e.Addr, d.dataDir),
			Meaning: "Packets may go to an address that nobody has. The next ADD that needs the place takes it.",
			Remedy:  fmt.Sprintf("Free dead leases with varve-cni reclaim; if it remains: nft list map inet %s %s, and nft delete element.", rules.TableName, e.Map),
		})
	}
	return nil
}

// forwardDrops reports foreign chains that drop by default, without our rule.
func (d *doctor) forwardDrops() error {
	w, err := firewall.Open(nil)
	if err != nil {
		return err
	}
	defer w.Close()
	drops, err := w.Drops(true)
	for _, c := range drops {
		if c.Open {
			continue
		}
		remedy := "The next ADD puts a rule there that lets the pods' packets pass (unless forwardRule is \"none\": then allow the pods' subnet there)."
		if c.Blocked != "" {
			remedy = "No rule can be put there: " + c.Blocked
		}
		d.found = append(d.found, finding.Finding{
			ID: "cni.forward.drop", Severity: finding.Warning, Object: c.Chain,
			Text:    fmt.Sprintf("The chain %s drops forwarded packets that no rule of its own accepts, and has no rule for the pods.", c.Chain),
			Meaning: "Pods reach neither other machines nor, with br_netfilter, each other, and nobody outside reaches their host ports.",
			Remedy:  remedy,
		})
	}
	return err
}

// Reclaim frees the dead leases and withheld addresses of a network and
// returns how many. It touches nothing that is alive.
func (e *Engine) Reclaim(dataDir, network string) (int, error) {
	if _, err := os.Stat(filepath.Join(dataDir, network, "leases")); err != nil {
		return 0, fmt.Errorf("no network %s in %s: %w", network, dataDir, err)
	}
	s, err := e.open(&Config{DataDir: dataDir, Network: network}, ipam.BootTime())
	if err != nil {
		return 0, err
	}
	defer s.close()
	n, err := s.reclaim()
	if tidyErr := s.store.Tidy(); err == nil {
		err = tidyErr
	}
	return n, err
}
