package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/cni-plugin/rules"
	"github.com/varve-project/varve/internal/failpoint"
)

// place is where a chain may be.
type place struct {
	family       nftables.TableFamily
	table, chain string
}

// known are the chains of iptables-nft (and by it Docker's, ufw's,
// kube-proxy's), of the nftables.conf of distributions, and of firewalld.
var known = []place{
	{nftables.TableFamilyIPv4, "filter", "FORWARD"},
	{nftables.TableFamilyIPv6, "filter", "FORWARD"},
	{nftables.TableFamilyINet, "filter", "forward"},
	{nftables.TableFamilyINet, "filter", "FORWARD"},
	{nftables.TableFamilyINet, firewalldTable, "filter_FORWARD"},
}

func (w *Wall) knownChains() ([]*nftables.Chain, error) {
	there, err := probe(known)
	if err != nil {
		return nil, fmt.Errorf("nftables: look for chains: %w", err)
	}
	var out []*nftables.Chain
	for _, p := range there {
		c, err := w.conn.ListChain(&nftables.Table{Name: p.table, Family: p.family}, p.chain)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("nftables: look for chain %s %s: %w", p.table, p.chain, err)
		}
		out = append(out, c)
	}
	return slices.DeleteFunc(out, isOther), nil
}

func (w *Wall) allChains() ([]*nftables.Chain, error) {
	chains, err := w.conn.ListChains()
	if err != nil && !isMissing(err) {
		return nil, fmt.Errorf("nftables: list chains: %w", err)
	}
	return slices.DeleteFunc(chains, isOther), nil
}

// isOther tells whether a chain is none that filters forwarded packets, or ours.
func isOther(c *nftables.Chain) bool {
	families := []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet}
	return c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Table.Name == rules.TableName || !slices.Contains(families, c.Table.Family)
}

func isMissing(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOENT) || strings.Contains(err.Error(), "no such file"))
}

// look reads one chain.
func (w *Wall) look(c *nftables.Chain) (Drop, bool, error) {
	if c.Table.Name == firewalldTable {
		d, err := w.firewalld()
		return d, true, err
	}
	list, err := w.conn.GetRules(c.Table, c)
	if isMissing(err) {
		return Drop{}, false, nil
	}
	if err != nil {
		return Drop{}, false, fmt.Errorf("nftables: list rules of %s: %w", chainName(c), err)
	}
	d := Drop{Chain: chainName(c)}
	var ours, last *nftables.Rule
	for _, r := range list {
		if text, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok && text == Comment {
			ours = r
		}
		last = r
	}
	closed := last != nil && closes(last.Exprs)
	drops := closed || c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
	d.Open = ours != nil
	d.close = func() error {
		if err := w.conn.DelRule(ours); err != nil {
			return fmt.Errorf("nftables: %s: %w", d.Chain, err)
		}
		return w.flush("remove our rule from " + d.Chain)
	}
	d.open = func() error {
		r := &nftables.Rule{Table: c.Table, Chain: c, Exprs: accept(), UserData: userdata.AppendString(nil, userdata.TypeComment, Comment)}
		failpoint.Hit("cni.firewall.rule.before")
		defer failpoint.Hit("cni.firewall.rule.after")
		if closed {
			r.Position = last.Handle
			w.conn.InsertRule(r)
		} else {
			w.conn.AddRule(r)
		}
		return w.flush("add our rule to " + d.Chain)
	}
	return d, drops || d.Open, nil
}

func (w *Wall) flush(what string) error {
	err := w.conn.Flush()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("nftables: %s: the table belongs to another program alone: allow the pods' subnet there, or set forwardRule to \"none\": %w", what, err)
	}
	if err != nil {
		return fmt.Errorf("nftables: %s: %w", what, err)
	}
	return nil
}

// accept is our rule, in the form in which iptables-nft shows it as
// -m mark --mark 0x1000/0x1000 -j ACCEPT.
func accept() []expr.Any {
	bit := binaryutil.NativeEndian.PutUint32(1 << rules.ForwardBit)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: bit, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: bit},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// closes tells whether a rule refuses every packet that reaches it.
func closes(list []expr.Any) bool {
	for _, e := range list {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Reject:
			return true
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop
		case *expr.Target: // of iptables-nft
			return e.Name == "REJECT" || e.Name == "DROP"
		default:
			return false
		}
	}
	return false
}

func chainName(c *nftables.Chain) string {
	family := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}
	return family[c.Table.Family] + " " + c.Table.Name + " " + c.Name
}
