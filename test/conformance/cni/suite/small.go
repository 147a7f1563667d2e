package suite

import (
	"context"
	"fmt"

	current "github.com/containernetworking/cni/pkg/types/100"
)

func (r *Run) context() context.Context { return context.Background() }

// fresh is a pod with an id that no other has.
func (r *Run) fresh() *Pod {
	r.pods++
	return r.pod(fmt.Sprintf("n%d", r.pods))
}

// few is the case on the network with a handful of addresses.
func (r *Run) few() *Run {
	s, err := r.small()
	r.must(err)
	r.Subject = s
	return r
}

// attachTo attaches a pod to another network than the case's.
func (r *Run) attachTo(network *Subject, p *Pod) *current.Result {
	a, err := network.chain(r.context(), request{verb: "ADD", pod: p})
	r.must(err)
	res, err := network.result(a, network.Version)
	if err != nil {
		r.fatalf("ADD to the second network: %v", err)
	}
	return res
}
