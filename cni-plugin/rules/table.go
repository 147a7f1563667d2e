package rules

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TableName is the table's, of family inet.
const TableName = "varve"

// Table is a connection to the kernel's table in the namespace of the thread
// that opened it.
type Table struct{ conn *nftables.Conn }

// Open opens the netlink socket. Close releases it.
func Open() (*Table, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	return &Table{conn}, nil
}

// Close releases the socket.
func (t *Table) Close() {
	// Nothing was written to it that could be lost.
	_ = t.conn.CloseLasting()
}

// ErrNotInstalled means that the table, or a chain or map in it, is missing:
// Install puts it there.
var ErrNotInstalled = errors.New("the nftables table inet " + TableName + " is not complete")

// ErrConflict means that the table holds another value for an element:
// Conflicts says whose.
var ErrConflict = errors.New("an element belongs to another pod")

var table = &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}

// named is the table's maps and sets. They are made anew for each batch, as
// the library numbers them by batch.
type named struct {
	// [0] is IPv4, [1] is IPv6.
	pods, policy, any, host [2]*nftables.Set
	loAny, loHost, gateways [2]*nftables.Set
	local                   [2]*nftables.Set // the pods' addresses
}

func sets() *named {
	n := &named{}
	for i, addr := range []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeIP6Addr} {
		suffix := []string{"4", "6"}[i]
		port := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
		target := nftables.MustConcatSetType(addr, nftables.TypeInetService)
		n.pods[i] = &nftables.Set{Table: table, Name: "pods" + suffix, IsMap: true, KeyType: addr, DataType: nftables.TypeVerdict}
		n.policy[i] = &nftables.Set{Table: table, Name: "policy" + suffix, IsMap: true, KeyType: addr, DataType: nftables.TypeVerdict}
		n.any[i] = &nftables.Set{Table: table, Name: "any" + suffix, IsMap: true, Concatenation: true,
			KeyType: nftables.MustConcatSetType(port...), DataType: target}
		n.host[i] = &nftables.Set{Table: table, Name: "host" + suffix, IsMap: true, Concatenation: true,
			KeyType: nftables.MustConcatSetType(append([]nftables.SetDatatype{addr}, port...)...), DataType: target}
		n.loAny[i] = &nftables.Set{Table: table, Name: "lo-any" + suffix, IsMap: true, Concatenation: true, KeyType: n.any[i].KeyType, DataType: addr}
		n.loHost[i] = &nftables.Set{Table: table, Name: "lo-host" + suffix, IsMap: true, Concatenation: true, KeyType: n.host[i].KeyType, DataType: addr}
		n.local[i] = &nftables.Set{Table: table, Name: "local" + suffix, KeyType: addr}
		n.gateways[i] = &nftables.Set{Table: table, Name: "gateways" + suffix, KeyType: addr}
	}
	return n
}

// all lists the maps in the order in which they are made. The gateways are the
// last: every pod with host ports has an element there, so that one that finds
// the table half written finds nothing to put it into.
func (n *named) all() []*nftables.Set {
	var out []*nftables.Set
	for i := range n.pods {
		out = append(out, n.pods[i], n.policy[i], n.any[i], n.host[i], n.loAny[i], n.loHost[i], n.local[i])
	}
	return append(out, n.gateways[:]...)
}

// Install writes the whole table, as it is to be, with the elements of pods.
// It is idempotent, keeps elements that are there, and repairs whatever was
// changed by hand. It takes three transactions (see addLoopback6); killed in
// between, the next pod with host ports finds no gateways, and Install is
// called again.
func (t *Table) Install(pods []Pod) error {
	t.conn.AddTable(table)
	n := sets()
	for _, s := range n.all() {
		if s == n.gateways[0] || s == n.gateways[1] {
			continue
		}
		if err := t.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("nftables map %s: %w", s.Name, err)
		}
	}
	t.chains(n)
	if err := t.flush("write the table"); err != nil {
		return err
	}
	if err := addLoopback6(n); err != nil {
		return fmt.Errorf("nftables: write the chains for ::1: %w", err)
	}
	for i, s := range n.gateways {
		if err := t.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("nftables set %s: %w", s.Name, err)
		}
		v4 := i == 0
		t.rule(&nftables.Chain{Table: table, Name: "marked"}, match{}.addressIn(s, v4, true).masquerade())
	}
	nets := map[string]bool{}
	for _, p := range pods {
		if name := p.Net.chain(); !nets[name] {
			nets[name] = true
			t.netChain(p.Net)
		}
	}
	if err := t.addElements(n, pods); err != nil {
		return err
	}
	return t.flush("fill the table")
}

// chains writes the fixed chains.
func (t *Table) chains(n *named) {
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return t.chain(&nftables.Chain{Table: table, Name: name, Type: kind, Hooknum: hook, Priority: &priority})
	}
	// A chain exists before a rule jumps to it.
	hostports := t.chain(&nftables.Chain{Table: table, Name: "hostports"})
	all := t.chain(&nftables.Chain{Table: table, Name: "masq-all"})
	marked := t.chain(&nftables.Chain{Table: table, Name: "marked"})
	loOut := base("lo-out", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityRaw)
	loIn := base("lo-in", nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityNATSource+10)
	base(lo6Out, nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityRaw)
	base(lo6In, nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityNATSource+10)
	prerouting := base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest-10)
	output := base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest-10)
	postrouting := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource-10)

	t.rule(loOut, match{}.loopbackOut(n.loHost[0], true, true).setAddr4(true))
	t.rule(loOut, match{}.loopbackOut(n.loAny[0], true, false).setAddr4(true))
	t.rule(loIn, match{}.loopbackIn(true).setAddr4(false))
	for _, c := range []*nftables.Chain{prerouting, output} {
		t.rule(c, match{}.toHost().verdict(expr.VerdictJump, hostports.Name))
	}
	for i := range n.any {
		v4 := i == 0
		size := uint32(4) // quarters of an address
		if v4 {
			size = 1
		}
		t.rule(hostports, match{}.family(v4).addr(v4, false, reg1).portKey(size).dnat(n.host[i], v4))
		t.rule(hostports, match{}.family(v4).portKey(0).dnat(n.any[i], v4))
	}
	forward := base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter-10)
	for i, s := range n.local {
		v4 := i == 0
		t.rule(forward, match{}.addressIn(s, v4, true).setMark(1<<ForwardBit))
		t.rule(forward, match{}.addressIn(s, v4, false).conntrack(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED).setMark(1<<ForwardBit))
		t.rule(forward, match{}.addressIn(s, v4, false).conntrack(expr.CtKeySTATUS, statusDNAT).setMark(1<<ForwardBit))
	}
	t.rule(postrouting, match{}.marked().verdict(expr.VerdictJump, marked.Name))
	t.rule(all, match{}.masquerade())
	for i := range n.pods {
		v4 := i == 0
		t.rule(postrouting, match{}.verdictOf(n.pods[i], v4, true))
		t.rule(marked, match{}.verdictOf(n.policy[i], v4, false))
	}
}

// netChain writes the chain of one network.
func (t *Table) netChain(n Net) {
	c := t.chain(&nftables.Chain{Table: table, Name: n.chain()})
	for _, p := range n.Subnets {
		// A pod that reaches a pod of its own subnet by a host port must see
		// the answer come from there: it has to go back through the host.
		t.rule(c, match{}.within(p, false).marked().masquerade())
	}
	if !n.Masquerade {
		return
	}
	for _, p := range append(append(append([]prefix{}, n.Subnets...), multicast4, multicast6), n.Exceptions...) {
		t.rule(c, match{}.within(p, false).verdict(expr.VerdictReturn, ""))
	}
	t.rule(c, match{}.masquerade())
}

// chain makes a chain, or takes the one that is there and empties it.
func (t *Table) chain(c *nftables.Chain) *nftables.Chain {
	t.conn.AddChain(c)
	t.conn.FlushChain(c)
	return c
}

func (t *Table) rule(c *nftables.Chain, m match) {
	t.conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: m})
}

// flush sends the batch, which the kernel takes as a whole or not at all.
func (t *Table) flush(what string) error {
	err := t.conn.Flush()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("nftables: %s: %w", what, ErrNotInstalled)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("nftables: %s: %w", what, ErrConflict)
	}
	return fmt.Errorf("nftables: %s: %w", what, err)
}
