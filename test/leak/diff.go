package leak

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Item is one thing that was not there before.
type Item struct {
	Kind Kind
	// Text says which, for people: "/run/x/netns/web type nsfs".
	Text string
}

func (i Item) String() string { return string(i.Kind) + ": " + i.Text }

// Diff lists what after holds and before did not, by kind and text.
func Diff(before, after Snapshot) []Item {
	var items []Item
	for _, kind := range Kinds() {
		var texts []string
		for key, text := range after[kind] {
			if _, had := before[kind][key]; !had {
				texts = append(texts, text)
			}
		}
		slices.Sort(texts)
		for _, text := range texts {
			items = append(items, Item{Kind: kind, Text: text})
		}
	}
	return items
}

// Settle takes snapshots until nothing is left that before did not hold, or
// until ctx ends, and returns what is left then. The kernel takes down network
// namespaces, loop devices with autoclear and cgroups behind the call that
// released them, so one look right after it proves nothing.
func Settle(ctx context.Context, before Snapshot, scope Scope) ([]Item, error) {
	for {
		after, err := Take(scope)
		if err != nil {
			return nil, err
		}
		items := Diff(before, after)
		if len(items) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return items, nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Table prints one line a kind: how many there were before, how many there
// are now and how many of those leaked, and ends with "leaked: N".
func Table(before, after Snapshot) string {
	leaked := map[Kind]int{}
	items := Diff(before, after)
	for _, item := range items {
		leaked[item.Kind]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %8s %8s %8s\n", "KERNEL", "BEFORE", "AFTER", "LEAKED")
	for _, kind := range Kinds() {
		fmt.Fprintf(&b, "%-12s %8d %8d %8d\n", kind, len(before[kind]), len(after[kind]), leaked[kind])
	}
	fmt.Fprintf(&b, "leaked: %d\n", len(items))
	return b.String()
}
