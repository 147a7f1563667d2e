package leak

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/google/nftables"
)

// nftItems lists the tables, chains, rules, sets and set elements of the
// calling thread's network namespace. A kernel without nftables has none.
func nftItems() (map[string]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	items := map[string]string{}
	tables, err := conn.ListTables()
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EPROTONOSUPPORT) || errors.Is(err, syscall.EINVAL) {
		return items, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	for _, table := range tables {
		name := tableName(table)
		items[name] = name
		if err := setItems(conn, table, items); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return items, ruleItems(conn, items)
}

func ruleItems(conn *nftables.Conn, items map[string]string) error {
	chains, err := conn.ListChains()
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, chain := range chains {
		name := tableName(chain.Table) + " chain " + chain.Name
		items[name] = name
		rules, err := conn.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("%s: list rules: %w", name, err)
		}
		for _, rule := range rules {
			text := fmt.Sprintf("%s rule handle %d", name, rule.Handle)
			items[text] = text
		}
	}
	return nil
}

func setItems(conn *nftables.Conn, table *nftables.Table, items map[string]string) error {
	sets, err := conn.GetSets(table)
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	for _, set := range sets {
		name := tableName(table) + " set " + set.Name
		items[name] = name
		elements, err := conn.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("set %s: list elements: %w", set.Name, err)
		}
		for _, e := range elements {
			text := fmt.Sprintf("%s element %x:%x", name, e.Key, e.Val)
			items[text] = text
		}
	}
	return nil
}

func tableName(table *nftables.Table) string {
	families := map[nftables.TableFamily]string{
		nftables.TableFamilyINet:   "inet",
		nftables.TableFamilyIPv4:   "ip",
		nftables.TableFamilyIPv6:   "ip6",
		nftables.TableFamilyARP:    "arp",
		nftables.TableFamilyNetdev: "netdev",
		nftables.TableFamilyBridge: "bridge",
	}
	return fmt.Sprintf("table %s %s", families[table.Family], table.Name)
}
