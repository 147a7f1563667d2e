package rules

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
)

// Add puts a pod's elements in place in one transaction: all or none. The
// error wraps ErrNotInstalled or ErrConflict. Adding what is there is no error.
func (t *Table) Add(p Pod) error {
	if err := t.addElements(sets(), []Pod{p}); err != nil {
		return err
	}
	return t.flush("add the elements of " + p.Owner)
}

func (t *Table) addElements(n *named, pods []Pod) error {
	for _, s := range n.all() {
		var list []nftables.SetElement
		for _, p := range pods {
			for _, e := range p.elements(n) {
				if e.set == s {
					list = append(list, e.SetElement)
				}
			}
		}
		if len(list) == 0 {
			continue
		}
		if err := t.conn.SetAddElements(s, list); err != nil {
			return fmt.Errorf("nftables map %s: %w", s.Name, err)
		}
	}
	return nil
}

// Remove takes a pod's elements out. certain says that an Add of exactly p is
// known to have succeeded; otherwise, and when one is missing, those are
// looked for that are there and are p's. Absence is no error.
func (t *Table) Remove(p Pod, certain bool) error {
	n := sets()
	mine := p.elements(n)
	if certain {
		err := t.delete(n, mine)
		if !errors.Is(err, ErrNotInstalled) {
			return err
		}
	}
	there, err := t.present(n, mine)
	if err != nil || len(there) == 0 {
		return err
	}
	return t.delete(n, there)
}

func (t *Table) delete(n *named, list []placed) error {
	for _, s := range n.all() {
		var elements []nftables.SetElement
		for _, e := range list {
			if e.set == s && !e.shared {
				// The kernel goes by the key; a value would be a mismatch.
				elements = append(elements, nftables.SetElement{Key: e.Key})
			}
		}
		if len(elements) == 0 {
			continue
		}
		if err := t.conn.SetDeleteElements(s, elements); err != nil {
			return fmt.Errorf("nftables map %s: %w", s.Name, err)
		}
	}
	return t.flush("remove elements")
}

// present returns those of mine that the kernel has. A host port counts only
// when it leads to the same address: another pod may have it by now.
func (t *Table) present(n *named, mine []placed) ([]placed, error) {
	var out []placed
	for _, s := range n.all() {
		have, err := t.dump(s)
		if err != nil {
			return nil, err
		}
		for _, e := range mine {
			val, ok := have[string(e.Key)]
			if e.set == s && ok && e.isMine(val) {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// isMine tells whether the kernel's element of e's key is e. Under the pod's own
// address it can only be; a host port may be another pod's by now.
func (e placed) isMine(there nftables.SetElement) bool {
	if e.loopback {
		return there.Comment == e.Comment
	}
	return e.port == nil || bytes.Equal(there.Val, e.Val)
}

// dump reads a map, by key. A map that is not there is empty.
func (t *Table) dump(s *nftables.Set) (map[string]nftables.SetElement, error) {
	list, err := t.conn.GetSetElements(s)
	if err != nil {
		if isNoSuch(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("nftables map %s: %w", s.Name, err)
	}
	out := make(map[string]nftables.SetElement, len(list))
	for _, e := range list {
		out[string(e.Key)] = e
	}
	return out, nil
}

// Conflict is an element of ours that the table holds with another value.
type Conflict struct {
	// Port is the host port, nil for an element keyed by the pod's own
	// address, which nobody else can rightly have.
	Port *Port
	// Owner and Addr are whose it is.
	Owner string
	Addr  netip.Addr

	element placed
}

// Conflicts lists what is in the way of Add.
func (t *Table) Conflicts(p Pod) ([]Conflict, error) {
	n := sets()
	var out []Conflict
	mine := p.elements(n)
	for _, s := range n.all() {
		have, err := t.dump(s)
		if err != nil {
			return nil, err
		}
		for _, e := range mine {
			other, ok := have[string(e.Key)]
			if e.set != s || !ok || e.shared || (e.port != nil || e.loopback) && bytes.Equal(other.Val, e.Val) {
				continue
			}
			c := Conflict{Port: e.port, Owner: other.Comment, element: e}
			if e.port != nil && len(other.Val) >= 4 {
				c.Addr, _ = netip.AddrFromSlice(other.Val[:len(other.Val)-4])
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// Evict removes what is in the way. The caller has found that it is nobody's.
func (t *Table) Evict(conflicts []Conflict) error {
	var list []placed
	for _, c := range conflicts {
		list = append(list, c.element)
	}
	n := sets()
	for i := range list {
		for _, s := range n.all() {
			if s.Name == list[i].set.Name {
				list[i].set = s
			}
		}
	}
	return t.delete(n, list)
}
