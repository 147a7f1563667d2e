package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"
)

var loadCases = []Case{
	{Name: "load/many pods at once", Level: Must, Spec: "section 2: calls for different containers may run in parallel", Run: func(r *Run) {
		before := r.warm()
		pods := make([]*Pod, 24)
		for i := range pods {
			pods[i] = r.pod(fmt.Sprintf("p%d", i))
		}
		results := make([]*current.Result, len(pods))
		r.together(len(pods), func(i int) error {
			a, err := r.chain(context.Background(), request{verb: "ADD", pod: pods[i]})
			if err == nil {
				results[i], err = r.result(a, r.Version)
			}
			return err
		})
		if len(r.failures) > 0 {
			return
		}
		r.distinct("pods that came at once", results...)
		for i, p := range pods {
			if err := p.agrees(results[i], "eth0"); err != nil {
				r.errorf("pod %d: %v", i, err)
			}
		}
		r.together(len(pods), func(i int) error {
			a, err := r.chain(context.Background(), request{verb: "DEL", pod: pods[i]})
			if err == nil && !a.ok() {
				err = fmt.Errorf("DEL: %s", a)
			}
			return err
		})
		for _, p := range pods {
			r.must(p.unpin())
		}
		r.leavesNothing(before, "24 pods at once")
	}},
	{Name: "load/more pods than addresses", Level: Must, Spec: "ADD: an address belongs to one; what fails says so", Small: true, Run: func(r *Run) {
		few := r.few()
		pods := make([]*Pod, 3*smallFits)
		for i := range pods {
			pods[i] = few.pod(fmt.Sprintf("c%d", i))
		}
		var mu sync.Mutex
		var results []*current.Result
		refusals := map[string]int{}
		few.together(len(pods), func(i int) error {
			a, err := few.chain(context.Background(), request{verb: "ADD", pod: pods[i]})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if !a.ok() {
				few.refuses("ADD into a full range", a)
				refusals[string(a.Stdout)]++
				return nil
			}
			res, err := few.result(a, few.Version)
			results = append(results, res)
			return err
		})
		few.distinct("contenders", results...)
		if len(results) != smallFits {
			few.errorf("%d of %d contenders got an address, want %d; the others: %v", len(results), len(pods), smallFits, refusals)
		}
	}},
	{Name: "load/an ADD that is killed leaves nothing after its DEL", Level: Trust, Spec: "a node that runs out of memory; containerd #12130", Run: func(r *Run) {
		before := r.warm()
		begun := time.Now()
		p := r.pod("measure")
		r.attach(p)
		took := time.Since(begun)
		r.detach(p)
		r.must(p.unpin())
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 12 {
			p := r.pod(fmt.Sprintf("k%d", i))
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.Int64N(int64(took))))
			_, err := r.chain(ctx, request{verb: "ADD", pod: p})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				r.must(err)
			}
			// A killed plug-in's children go on for a moment.
			r.wants("DEL after an ADD that was killed", r.patiently(request{verb: "DEL", pod: p}))
			if names, err := p.links(); err != nil || len(names) > 0 {
				r.errorf("after ADD was killed and DEL the pod has %v (%v)", names, err)
			}
			r.must(p.unpin())
		}
		r.leavesNothing(before, "ADDs that were killed, and their DELs")
	}},
}

// together runs f n times at once, each on a thread in the node's network.
func (r *Run) together(n int, f func(i int) error) {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Add(1)
		go func() {
			defer group.Done()
			errs[i] = f(i)
		}()
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			r.errorf("call %d of %d at once: %v", i, n, err)
		}
	}
}

// again is the error code "try again later".
const again = 11

// patiently repeats a call that answers "try again later".
func (r *Run) patiently(q request) Answer {
	end := time.Now().Add(r.Patience)
	for {
		a := r.call(q)
		if e := a.err(); a.ok() || e == nil || e.Code != again || time.Now().After(end) {
			return a
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (r *Run) attachPatiently(p *Pod) *current.Result {
	res, err := r.result(r.patiently(request{verb: "ADD", pod: p}), r.Version)
	if err != nil {
		r.fatalf("ADD of %s: %v", p.ID, err)
	}
	return res
}

// fill attaches up to want pods, counts those that got an address of their
// own, and detaches them.
func (r *Run) fill(want int) int {
	var pods []*Pod
	var results []*current.Result
	for range want {
		p := r.fresh()
		a := r.patiently(request{verb: "ADD", pod: p})
		if !a.ok() {
			r.refuses("ADD", a)
			break
		}
		res, err := r.result(a, r.Version)
		r.must(err)
		pods, results = append(pods, p), append(results, res)
	}
	r.distinct("pods", results...)
	for _, p := range pods {
		r.detach(p)
		r.must(p.unpin())
	}
	return len(pods)
}

var portCases = []Case{
	{Name: "ports/a host port leads to the pod until its DEL", Level: Must, Spec: "CONVENTIONS: portMappings", Ports: true, Run: func(r *Run) {
		p := r.pod("p")
		caps := map[string]any{"portMappings": []any{map[string]any{"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}}}
		before := r.warmWith(caps)
		_, raw := r.attachAs(request{verb: "ADD", pod: p, caps: caps})
		var listener net.Listener
		r.must(p.within(func() (err error) {
			listener, err = net.Listen("tcp", ":8080")
			return err
		}))
		if err := dial("127.0.0.1:18080", 3*time.Second); err != nil {
			r.errorf("from the host by 127.0.0.1: %v", err)
		}
		r.must(listener.Close())
		r.wants("DEL", r.call(request{verb: "DEL", pod: p, caps: caps, prev: raw}))
		r.must(p.unpin())
		r.leavesNothing(before, "a pod with a host port")
	}},
}
