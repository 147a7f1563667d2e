package suite

var gcCases = []Case{
	{Name: "gc/frees what the list lacks, and nothing else", Level: Must, Spec: "GC", Since: "1.1.0", Run: func(r *Run) {
		before := r.warm()
		kept, lost := r.pod("kept"), r.pod("lost")
		res, _ := r.attach(kept)
		with := r.settled()
		r.attach(lost)
		r.must(lost.unpin())
		r.collect(r.Subject, kept)
		if err := kept.agrees(res, "eth0"); err != nil {
			r.errorf("GC broke an attachment that is on the list: %v", err)
		}
		r.leavesNothing(with, "GC of a lost pod")
		r.detach(kept)
		r.must(kept.unpin())
		r.leavesNothing(before, "GC and DEL")
	}},
	{Name: "gc/frees a pod whose namespace lives", Level: Must, Spec: "GC: what is not on the list is stale", Since: "1.1.0", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("stale")
		r.attach(p)
		r.collect(r.Subject)
		r.must(p.unpin())
		r.leavesNothing(before, "GC with an empty list")
	}},
	{Name: "gc/frees addresses", Level: Must, Spec: "GC: all resources; cni #540", Since: "1.1.0", Small: true, Run: func(r *Run) {
		few := r.few()
		var kept *Pod
		for i := range smallFits {
			p := few.fresh()
			few.attachPatiently(p)
			if i == 0 {
				kept = p
				continue
			}
			few.must(p.unpin())
		}
		few.collect(few.Subject, kept)
		if got := few.fill(smallFits); got != smallFits-1 {
			few.errorf("after GC %d addresses are left, want %d", got, smallFits-1)
		}
	}},
	{Name: "gc/a missing list frees nothing", Level: Trust, Spec: "GC: cni.dev/valid-attachments is required; absent is not empty", Since: "1.1.0", Run: func(r *Run) {
		p := r.pod("p")
		res, _ := r.attach(p)
		for i := range r.Plugins {
			_, err := r.one(r.context(), i, request{verb: "GC"}) // an error is a good answer as well
			r.must(err)
		}
		if err := p.agrees(res, "eth0"); err != nil {
			r.errorf("GC without a list took an attachment: %v", err)
		}
	}},
	{Name: "gc/another network is not touched", Level: Must, Spec: "GC: of the network that is named", Since: "1.1.0", Run: func(r *Run) {
		second := r.other()
		p := r.pod("second")
		res := r.attachTo(second, p)
		r.collect(r.Subject)
		if err := p.agrees(res, "eth0"); err != nil {
			r.errorf("GC of one network took another's attachment: %v", err)
		}
		r.collect(second)
	}},
	{Name: "gc/attachments that it does not know are fine", Level: Must, Spec: "GC: the list may name what is gone", Since: "1.1.0", Run: func(r *Run) {
		r.collect(r.Subject, &Pod{ID: "nobody"})
	}},
}

// collect runs GC of a network with these attachments alive.
func (r *Run) collect(s *Subject, alive ...*Pod) {
	list := []any{}
	for _, p := range alive {
		list = append(list, map[string]any{"containerID": p.ID, "ifname": "eth0"})
	}
	for i := range s.Plugins {
		a, err := s.one(r.context(), i, request{verb: "GC", keys: map[string]any{"cni.dev/valid-attachments": list}})
		r.must(err)
		if !a.ok() {
			r.errorf("GC of %s: %s", typeOf(s.Plugins[i]), a)
		}
	}
}
