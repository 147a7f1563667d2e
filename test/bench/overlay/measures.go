package overlay

import (
	"context"
	"fmt"
	"strings"

	"github.com/varve-project/varve/test/bench/result"
)

// measure is one run of one contender that gives several figures.
type measure struct {
	name       string
	contenders []Contender
	// run returns the figures of one round; key is unique to the round.
	run func(ctx context.Context, c Contender, key string) (map[string]float64, error)
	// order lists the figures' names; target their bounds, 0 for none.
	order  []string
	target func(figure string) float64
	note   string
}

// bigDirect is the measure that the bound of Remove is held against.
const bigDirect = "direct/50000 files"

// How many operations a client does in a round, by the number of clients.
var operationsEach = map[int]int{1: 200, 50: 8}

const (
	containerdNote = "Remove through containerd only marks; the driver's work is done by its garbage collection, see the direct rows"
	directNote     = "the built-in driver behind containerd's own snapshot service, in a process of its own"
)

func (b *bench) measures(ctx context.Context) ([]measure, error) {
	var list []measure
	for _, clients := range []int{1, 50} {
		list = append(list, b.ops("containerd", b.viaContainerd, clients, containerdNote))
	}
	for _, clients := range []int{1, 50} {
		list = append(list, b.ops("direct", b.direct, clients, directNote))
	}
	list = append(list, b.big("containerd/50000 files", b.viaContainerd), b.big(bigDirect, b.direct))
	if !strings.Contains("unpack", b.options.Only) && !strings.Contains(b.options.Only, "unpack") {
		return list, nil
	}
	u, err := b.unpacker(ctx)
	if err != nil {
		return nil, fmt.Errorf("make the image to unpack: %w", err)
	}
	return append(list, b.unpacks(u, "unpack/one by one", 1), b.unpacks(u, "unpack/in parallel", parallelUnpacks)), nil
}

func (b *bench) ops(way string, contenders []Contender, clients int, note string) measure {
	m := measure{name: fmt.Sprintf("%s/%d clients", way, clients), contenders: contenders, note: note}
	if clients == 1 {
		m.name = way + "/1 client"
	}
	for _, op := range operations {
		m.order = append(m.order, op+" p50", op+" p99")
	}
	m.target = func(figure string) float64 {
		if strings.HasSuffix(figure, "p99") {
			return targetP99
		}
		return targetP50
	}
	m.run = func(ctx context.Context, c Contender, key string) (map[string]float64, error) {
		samples, err := measureOps(ctx, c, fmt.Sprintf("%s-%d", key, clients), clients, b.options.scale(operationsEach[clients]))
		figures := map[string]float64{}
		for op, times := range samples {
			figures[op+" p50"] = result.Percentile(times, 50)
			figures[op+" p99"] = result.Percentile(times, 99)
		}
		return figures, err
	}
	return m
}

func (b *bench) big(name string, contenders []Contender) measure {
	return measure{
		name: name, contenders: contenders,
		order: []string{"commit", "remove", "remove and cleanup"},
		target: func(figure string) float64 {
			if figure == "remove and cleanup" {
				return 0
			}
			return targetP50
		},
		run: func(ctx context.Context, c Contender, key string) (map[string]float64, error) {
			return measureBig(ctx, c, key+"-big", b.options.scale(bigFiles))
		},
	}
}

// unpacks compares with the built-in plug-in only: behind a socket it would
// lose deletions in parallel, so its time would be of other work.
func (b *bench) unpacks(u unpacker, name string, limit int) measure {
	return measure{
		name: name, contenders: b.viaContainerd[:2],
		order:  []string{"8 layers 16000 files"},
		target: func(string) float64 { return targetUnpack },
		note:   fmt.Sprintf("containerd's unpacker and differ; max_concurrent_unpacks %d", limit),
		run: func(ctx context.Context, c Contender, _ string) (map[string]float64, error) {
			capabilities, err := b.capabilities(ctx, c.Name)
			if err != nil {
				return nil, err
			}
			took, err := u.measure(ctx, c, capabilities, limit)
			return map[string]float64{"8 layers 16000 files": took}, err
		},
	}
}
