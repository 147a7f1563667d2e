package arrows

import (
	"fmt"
	"sort"
	"strings"
)

// Module is the module whose packages the rules speak of.
const Module = "github.com/varve-project/varve"

// Graph maps each package of the module (full import path) to the packages
// that its non-test files import.
type Graph map[string][]string

// Check returns one line per broken rule: who, what, by which way, and why it
// is banned; sorted. All packages on a way must be in the graph for a Deep
// rule to see through them.
func Check(g Graph, rules []Rule) []string {
	var broken []string
	for _, r := range rules {
		for from := range g {
			if !applies(r, from) {
				continue
			}
			for _, way := range reach(g, from, r.Deep) {
				to := way[len(way)-1]
				if banned(r, to) {
					broken = append(broken, fmt.Sprintf("%s: banned, because %s", strings.Join(way, " → "), r.Why))
				}
			}
		}
	}
	sort.Strings(broken)
	return broken
}

// applies tells whether the rule binds the package. The rule with an empty
// From binds everything but test/.
func applies(r Rule, pkg string) bool {
	if !within(pkg, Module) {
		return false
	}
	if r.From == "" {
		return !within(pkg, Module+"/test")
	}
	return within(pkg, Module+"/"+r.From)
}

func banned(r Rule, pkg string) bool {
	for _, e := range r.Except {
		if within(pkg, full(e)) {
			return false
		}
	}
	for _, to := range r.To {
		if within(pkg, full(to)) {
			return true
		}
	}
	return false
}

// reach lists the ways from a package to what it imports: one step, or with
// deep the shortest way to each package that it links.
func reach(g Graph, from string, deep bool) [][]string {
	ways := [][]string{}
	seen := map[string]bool{from: true}
	queue := [][]string{{from}}
	for len(queue) > 0 {
		way := queue[0]
		queue = queue[1:]
		for _, to := range g[way[len(way)-1]] {
			if seen[to] {
				continue
			}
			seen[to] = true
			next := append(append([]string{}, way...), to)
			ways = append(ways, next)
			if deep {
				queue = append(queue, next)
			}
		}
	}
	return ways
}

// full turns a rule's path into an import path: paths of other modules and of
// the standard library stay as they are.
func full(path string) string {
	first, _, _ := strings.Cut(path, "/")
	if strings.Contains(first, ".") || path == "os/exec" {
		return path
	}
	return Module + "/" + path
}

func within(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}
