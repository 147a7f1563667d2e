package conformance

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
)

var cleanupCases = []Case{
	{Name: "cleanup gives everything back", Run: on(cleanupAll)},
	{Name: "cleanup of nothing succeeds", Run: on(func(r *run) { r.cleanup(); r.cleanup() })},
	{Name: "cleanup keeps what is not removed", Run: on(cleanupKeeps)},
}

func cleanupAll(r *run) {
	r.cleanup()
	before := r.Held(r)
	parent := ""
	for i := range 4 {
		next := fmt.Sprint("layer", i)
		r.layer(next, parent, func(dir string) {
			for n := range 50 {
				r.write(dir, fmt.Sprint("f", i, "-", n), "some content")
			}
		})
		r.usage(next) // what is kept of it must go, too
		parent = next
	}
	r.mounted(r.prepare("active", parent), func(dir string) { r.fill(dir, "big", 4*mib) })
	_, err := r.sn.View(r.ctx, "view", parent)
	r.must(err, "View")
	for _, key := range []string{"view", "active", "layer3", "layer2", "layer1", "layer0"} {
		r.remove(key)
	}
	r.cleanup()
	if after := r.Held(r); after > before {
		r.Errorf("%d units are held after everything was removed, %d before", after, before)
	}
	count := 0
	r.must(r.sn.Walk(r.ctx, func(context.Context, snapshots.Info) error { count++; return nil }), "List")
	if count != 0 {
		r.Errorf("%d snapshots are listed after everything was removed", count)
	}
}

func cleanupKeeps(r *run) {
	r.layer("base", "", func(dir string) { r.write(dir, "f", "x") })
	r.mounted(r.prepare("a", "base"), func(dir string) { r.write(dir, "g", "y") })
	r.prepare("gone", "base")
	r.remove("gone")
	r.cleanup()
	m, err := r.sn.Mounts(r.ctx, "a")
	r.must(err, "Mounts")
	r.mounted(m, func(dir string) {
		r.holds(dir, "f", "x")
		r.holds(dir, "g", "y")
	})
}
