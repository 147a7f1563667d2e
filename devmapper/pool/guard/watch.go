package guard

import (
	"context"
	"time"
)

// watch is the loop's own state; only the loop's goroutine touches it. What
// may take long (a status of a hung pool, LVM) runs on goroutines that answer
// through channels, one of each kind at a time.
type watch struct {
	*Guard

	looks chan look
	// looking: a status has been asked for; silent is when to give it up.
	looking bool
	silent  *time.Timer
	tick    *time.Timer
	// waiting want to know when a look that begins from now on is over, due
	// when the one under way is.
	waiting, due []chan struct{}

	room      Room
	fullSince time.Time
	extension chore[Room]
	behaviour chore[struct{}]
	said      map[string]bool
}

type look struct {
	status Status
	err    error
}

func newWatch(g *Guard) *watch {
	w := &watch{
		Guard: g, looks: make(chan look, 1), said: map[string]bool{},
		tick: time.NewTimer(slowTick), silent: time.NewTimer(patience),
		extension: newChore[Room](&g.done), behaviour: newChore[struct{}](&g.done),
	}
	w.silent.Stop()
	return w
}

func (w *watch) run(ctx context.Context) {
	w.act(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.events:
			w.look(ctx)
		case <-w.tick.C:
			w.look(ctx)
		case over := <-w.asked:
			w.due = append(w.due, over)
			w.look(ctx)
		case l := <-w.looks:
			w.looked(ctx, l)
		case <-w.silent.C:
			w.saw(Status{}, errSilent)
			w.answer()
		case r := <-w.extension.done:
			w.extended(r)
			w.look(ctx)
		case r := <-w.behaviour.done:
			w.behaved(r)
			w.look(ctx)
		}
	}
}

// look asks for the pool's status, unless that is under way.
func (w *watch) look(ctx context.Context) {
	w.tick.Reset(w.period())
	if w.looking {
		return
	}
	w.looking = true
	w.waiting, w.due = w.due, nil
	w.silent.Reset(patience)
	go func() {
		status, err := w.pool.Status(ctx)
		w.looks <- look{status, err}
	}()
}

func (w *watch) looked(ctx context.Context, l look) {
	w.looking = false
	w.silent.Stop()
	w.saw(l.status, l.err)
	w.answer()
	if l.err == nil {
		w.act(ctx)
	}
	w.tick.Reset(w.period())
	if len(w.due) > 0 {
		w.look(ctx)
	}
}

// answer tells those who asked that their look is over.
func (w *watch) answer() {
	for _, over := range w.waiting {
		close(over)
	}
	w.waiting = nil
}

// period is until the next look. A queue that is to end is looked at in time.
func (w *watch) period() time.Duration {
	v := w.view.Load()
	if !v.Low {
		return slowTick
	}
	left := w.limits.QueueFor - v.FullFor
	if w.limits.Queue && v.Mode == OutOfData && !v.ErrorIfFull && left > 0 {
		return min(fastTick, left)
	}
	return fastTick
}

// saw makes a view of what was read.
func (w *watch) saw(status Status, err error) {
	w.metrics.looks.Add(1)
	if err != nil {
		v := w.unreadable(err)
		w.view.Store(&v)
		w.say(v)
		return
	}
	now := time.Now()
	if status.Mode != OutOfData {
		w.fullSince = time.Time{}
	} else if w.fullSince.IsZero() {
		w.fullSince = now
	}
	s := Scene{
		Status: status, Room: w.room, KernelTimeout: w.kernelTimeout(),
		ExtendFailed: w.extension.err, BehaviourFailed: w.behaviour.err,
	}
	if !w.fullSince.IsZero() {
		s.FullFor = now.Sub(w.fullSince)
	}
	v := View{Scene: s, Verdict: Decide(w.limits, s), At: now}
	w.view.Store(&v)
	w.say(v)
}

// act begins what the last view calls for.
func (w *watch) act(ctx context.Context) {
	v := w.View()
	now := time.Now()
	if v.Behaviour == Keep {
		w.behaviour.settled()
	} else if w.behaviour.ready(now) {
		w.setBehaviour(ctx, v.Behaviour == ToError)
	}
	if w.store == nil {
		return
	}
	if !v.Wanted && w.room.Known {
		w.extension.settled()
	}
	stale := !w.room.Known || now.Sub(w.extension.last) >= roomPeriod
	if (v.Wanted || stale) && w.extension.ready(now) {
		w.extend(ctx)
	}
}
