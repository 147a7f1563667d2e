package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

func isNoSuch(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOENT) || strings.Contains(err.Error(), "no such file"))
}

// Missing lists what the table lacks of p, in words; empty when all is there.
func (t *Table) Missing(p Pod) ([]string, error) {
	n := sets()
	mine := p.elements(n)
	there, err := t.present(n, mine)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, e := range there {
		have[e.set.Name+string(e.Key)] = true
	}
	var out []string
	for _, e := range mine {
		if have[e.set.Name+string(e.Key)] {
			continue
		}
		text := fmt.Sprintf("an element of map %s", e.set.Name)
		if e.port != nil {
			text = fmt.Sprintf("host port %d/%s (map %s)", e.port.HostPort, e.port.Protocol, e.set.Name)
		}
		out = append(out, text)
	}
	return out, nil
}

// Element is one element of the table that belongs to a pod's address.
type Element struct {
	Map   string
	Owner string
	Addr  netip.Addr

	key []byte
}

// Elements lists what the table holds for pods, by the address of each.
func (t *Table) Elements() ([]Element, error) {
	n := sets()
	var out []Element
	for _, s := range n.all() {
		if s == n.gateways[0] || s == n.gateways[1] || s == n.local[0] || s == n.local[1] || s == n.loAny[0] || s == n.loAny[1] || s == n.loHost[0] || s == n.loHost[1] {
			continue // by the gateway's address, or beside those by the pod's
		}
		have, err := t.dump(s)
		if err != nil {
			return nil, err
		}
		for _, e := range have {
			raw := e.Key
			if s.DataType.Bytes > 0 && len(e.Val) > 4 {
				raw = e.Val[:len(e.Val)-4]
			}
			a, _ := netip.AddrFromSlice(raw)
			out = append(out, Element{s.Name, e.Comment, a, e.Key})
		}
	}
	return out, nil
}

// RemoveElements takes out elements that Elements found.
func (t *Table) RemoveElements(list []Element) error {
	n := sets()
	var out []placed
	for _, e := range list {
		for _, s := range n.all() {
			if s.Name == e.Map {
				p := placed{set: s}
				p.Key = e.key
				out = append(out, p)
			}
		}
	}
	return t.delete(n, out)
}

// Check tells whether the table's chains are there and hold rules. A table
// that somebody flushed would let pods start that nobody reaches.
func (t *Table) Check() error {
	chains, err := t.conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return fmt.Errorf("nftables: list chains: %w", err)
	}
	want := map[string]bool{"hostports": true, "masq-all": true, "marked": true, "lo-out": true, "lo-in": true, lo6Out: true, lo6In: true, "prerouting": true, "forward": true, "output": true, "postrouting": true}
	for _, c := range chains {
		if c.Table.Name != TableName || !want[c.Name] {
			continue
		}
		have, err := t.conn.GetRules(table, c)
		if err != nil {
			return fmt.Errorf("nftables: list rules of %s: %w", c.Name, err)
		}
		if len(have) > 0 {
			delete(want, c.Name)
		}
	}
	for name := range want {
		return fmt.Errorf("chain %s has no rules: %w", name, ErrNotInstalled)
	}
	return nil
}
