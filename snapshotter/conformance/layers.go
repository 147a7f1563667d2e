package conformance

import (
	"fmt"
)

var layerCases = []Case{
	{Name: "200 layers show all their files", Run: on(manyLayers)},
}

const layerCount = 200

func manyLayers(r *run) {
	parent := ""
	for i := range layerCount {
		next := fmt.Sprintf("layer-%d", i)
		r.layer(next, parent, func(dir string) {
			r.write(dir, fmt.Sprintf("own-%d", i), fmt.Sprint(i))
			r.write(dir, "last", fmt.Sprint(i))
		})
		parent = next
	}
	check := func(dir string) {
		for i := range layerCount {
			r.holds(dir, fmt.Sprintf("own-%d", i), fmt.Sprint(i))
		}
		r.holds(dir, "last", fmt.Sprint(layerCount-1))
	}
	r.look(parent, check)
	r.mounted(r.prepare("top", parent), func(dir string) {
		check(dir)
		r.write(dir, "own-0", "changed")
		r.holds(dir, "own-0", "changed")
	})
}
