package rules

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
)

// Dismantle removes the table, unless a pod of whatever network has elements
// in it; done tells which it was. Absence is no error.
//
// A pod's element jumps to its network's chain, and the kernel refuses to
// delete a chain that something jumps to, and with it the whole batch: that a
// pod came in between, the kernel itself notices.
func (t *Table) Dismantle() (done bool, err error) {
	chains, err := t.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil && !isNoSuch(err) {
		return false, fmt.Errorf("nftables: list chains: %w", err)
	}
	there := false
	for _, c := range chains {
		if c.Table.Name != TableName {
			continue
		}
		there = true
		if strings.HasPrefix(c.Name, netPrefix) {
			t.conn.DelChain(&nftables.Chain{Table: table, Name: c.Name})
		}
	}
	if !there {
		return true, nil
	}
	t.conn.DelTable(table)
	err = t.flush("remove the table")
	switch {
	case errors.Is(err, ErrConflict):
		return false, nil
	case errors.Is(err, ErrNotInstalled):
		return true, nil
	}
	return err == nil, err
}
