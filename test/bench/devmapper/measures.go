package devmapper

import (
	"context"
	"fmt"
)

// How many operations, of the shipped size of a run.
const (
	opsEach = 10
	atOnce  = 100
)

// measure is one run of one contender that gives several figures.
type measure struct {
	name string
	// rounds is how many there are at most.
	rounds int
	unit   string
	// order lists the figures' names; targets are their bounds, if any.
	order   []string
	targets map[string]float64
	note    string
	// run returns the figures of one round; key is unique to the round.
	run func(ctx context.Context, c Contender, key string) (map[string]float64, error)
}

// targets of the issue, as ratios of ours to the peer's. An emulated machine
// flatters whoever starts fewer programs; where there is KVM, three times must
// do.
func targets(emulated bool) map[string]float64 {
	t := map[string]float64{
		"prepare p50": 1. / 10, "commit p50": 1. / 10, "remove p50": 1. / 20, "remove acknowledged": 1. / 20,
		"prepare": 1. / 30,
	}
	if !emulated {
		for figure := range t {
			t[figure] = 1. / 3
		}
	}
	t["space returned"] = 1
	return t
}

func (b *bench) measures() []measure {
	bounds := targets(b.emulated)
	ops := measure{
		name: "calls", rounds: b.options.Rounds, unit: "ms", targets: bounds, run: b.ops,
		note: fmt.Sprintf("%d of each a round, on a child of a parent of 100 files; p99 of so few is the slowest", b.options.scale(opsEach)),
	}
	for _, op := range operations {
		ops.order = append(ops.order, op+" p50", op+" p99")
	}
	counts := measure{
		name: "counts", rounds: 1, unit: "count", run: b.counts,
		note: "of one call, by the whole machine, by the kernel's count: programs started, fsyncs and the like, ioctls",
	}
	for _, op := range counted {
		for _, kind := range kinds {
			counts.order = append(counts.order, op+", "+kind)
		}
	}
	return []measure{
		ops,
		{
			name: "without parent", rounds: b.options.Rounds, unit: "ms", run: b.first,
			order: []string{"prepare without a parent"},
			note:  "the built-in formats a file system each time, ours once for each size; that once is not in here",
		},
		{
			name: "space", rounds: b.options.Rounds, unit: "ms", targets: bounds, run: b.space,
			order: []string{"remove acknowledged", "space returned"},
			note:  fmt.Sprintf("a snapshot of %d MiB; from the call of Remove, with the Cleanup behind it, until the pool has the blocks back. Ours discards, as its shipped configuration says, and the built-in has discard_blocks on, with which it discards devices that are still active", spaceBytes>>20),
		},
		{
			name: fmt.Sprintf("%d at once", b.options.scale(atOnce)), rounds: 2, unit: "ms", targets: bounds, run: b.concurrent,
			order: []string{"prepare", "remove and cleanup"}, note: "two rounds at most",
		},
		b.unpack(image{b.options.scale(16), 20, 8 << 10}, "layers", 3, 1),
		b.unpack(image{b.options.scale(64), 1, 1 << 10}, "tiny layers", 2, 1./2),
		counts,
	}
}

// unpack must take at most bound times as long as the peer.
func (b *bench) unpack(im image, kind string, rounds int, bound float64) measure {
	figure := fmt.Sprintf("%d %s", im.layers, kind)
	return measure{
		name: "unpack", rounds: rounds, unit: "ms", targets: map[string]float64{figure: bound},
		order: []string{figure}, run: b.unpacked(im, figure),
		note: fmt.Sprintf("containerd's unpacker and differ; %d layers of %d files of %d bytes; %d rounds at most", im.layers, im.files, im.bytes, rounds),
	}
}
