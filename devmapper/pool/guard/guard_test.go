package guard

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
)

var queueing = func() Limits { l := limits; l.Queue, l.QueueFor = true, 30*time.Second; return l }()

// An event leads to a look at once, and that to an extension.
func TestEventExtends(t *testing.T) {
	p := newFake(func(*Status) {})
	with(t, p, limits, func(t *testing.T, g *Guard, logged *journal) {
		synctest.Wait()
		before := time.Now()
		p.event(func(s *Status) { s.Data.Used = 85 * gib })
		synctest.Wait()
		if !time.Now().Equal(before) {
			t.Error("it took time")
		}
		if v := g.View(); v.Data.Total != 120*gib || v.Admit != nil || len(v.Findings) != 0 || v.Room.Bytes != 80*gib {
			t.Errorf("after the event: %+v", v)
		}
		if c, _ := p.saw(); c.extends != 1 {
			t.Errorf("%d extensions, want 1", c.extends)
		}
		if said := logged.at("info"); len(said) != 2 || !strings.Contains(strings.Join(said, "\n"), "has been extended by 20.0 GiB of data") {
			t.Errorf("logged %q", said)
		}
	})
}

// Without events the clock finds what changed, soon where little is left.
func TestClock(t *testing.T) {
	p := newFake(func(*Status) {})
	manual := limits
	manual.ExtendAt = 0
	with(t, p, manual, func(t *testing.T, g *Guard, _ *journal) {
		synctest.Wait()
		p.quietly(func(p *fakePool) { p.status.Data.Used = 95 * gib })
		if g.Admit() != nil {
			t.Error("refused before a look")
		}
		time.Sleep(slowTick + time.Second)
		if err := g.Admit(); !errdefs.IsResourceExhausted(err) {
			t.Errorf("after the slow tick: %v", err)
		}
		p.quietly(func(p *fakePool) { p.status.Data.Used = 50 * gib })
		time.Sleep(fastTick + time.Second)
		if err := g.Admit(); err != nil {
			t.Errorf("after the fast tick: %v", err)
		}
		before, _ := p.saw()
		time.Sleep(10 * time.Minute)
		after, _ := p.saw()
		if n := after.looks - before.looks; n > 121 {
			t.Errorf("%d looks in ten idle minutes", n)
		}
	})
}

// Where little is left, who asks is not answered by an old look for long.
func TestAdmitWakes(t *testing.T) {
	p := newFake(func(s *Status) { s.Data.Used = 89 * gib })
	manual := limits
	manual.ExtendAt = 0
	with(t, p, manual, func(t *testing.T, g *Guard, _ *journal) {
		synctest.Wait()
		p.quietly(func(p *fakePool) { p.status.Data.Used = 95 * gib })
		time.Sleep(fresh + time.Millisecond)
		_ = g.Admit()
		synctest.Wait()
		if err := g.Admit(); !errdefs.IsResourceExhausted(err) {
			t.Errorf("the second to ask: %v", err)
		}
		before, _ := p.saw()
		for range 1000 {
			_ = g.Admit()
		}
		synctest.Wait()
		if after, _ := p.saw(); after.looks > before.looks {
			t.Errorf("%d looks for a thousand questions at once", after.looks-before.looks)
		}
	})
}

// A failing extension is tried ever less often, and said once.
func TestBackOff(t *testing.T) {
	p := newFake(func(s *Status) { s.Data.Used = 95 * gib })
	p.extendErr = errors.New("the group is locked")
	with(t, p, limits, func(t *testing.T, g *Guard, logged *journal) {
		time.Sleep(time.Hour)
		c, _ := p.saw()
		at := c.extendAt
		if len(at) < 8 || len(at) > 12 {
			t.Errorf("%d attempts in an hour: %v", len(at), at)
		}
		for i := 2; i < len(at); i++ {
			before, after := at[i-1].Sub(at[i-2]), at[i].Sub(at[i-1])
			if after < before-fastTick || after > lastRetry+fastTick {
				t.Errorf("attempt %d came after %s, the one before after %s", i, after, before)
			}
		}
		said := 0
		for _, line := range logged.at("error") {
			if strings.Contains(line, "the group is locked") {
				said++
			}
		}
		if said != 1 {
			t.Errorf("said %d times: %q", said, logged.at("error"))
		}
		ids := ""
		for _, f := range g.Findings() {
			ids += f.ID + " "
		}
		if !strings.Contains(ids, ExtendFailed) || !strings.Contains(ids, DataLow) {
			t.Errorf("findings %s", ids)
		}
		p.quietly(func(p *fakePool) { p.extendErr = nil })
		time.Sleep(lastRetry + fastTick)
		synctest.Wait()
		if err := g.Admit(); err != nil || len(g.Findings()) != 0 {
			t.Errorf("after it went well: %v, %+v", err, g.Findings())
		}
	})
}

// A group without room is looked at ever less often; a disk that is added
// helps within the longest wait.
func TestRoomComes(t *testing.T) {
	p := newFake(func(s *Status) { s.Data.Used = 95 * gib })
	p.room = 0
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		time.Sleep(time.Hour)
		if c, _ := p.saw(); c.extends != 0 || c.rooms > 12 || c.rooms < 6 {
			t.Errorf("%d extensions, %d looks at the group", c.extends, c.rooms)
		}
		p.quietly(func(p *fakePool) { p.room = 50 * gib })
		time.Sleep(lastRetry + fastTick)
		synctest.Wait()
		if v := g.View(); v.Data.Total < 120*gib || v.Admit != nil {
			t.Errorf("view %+v", v)
		}
	})
}

// The room is known, and its lack found, long before it is needed.
func TestRoomIsWatched(t *testing.T) {
	p := newFake(func(*Status) {})
	p.room = gib
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		synctest.Wait()
		if f := g.Findings(); len(f) != 1 || f[0].ID != NoRoom {
			t.Errorf("findings %+v", f)
		}
		time.Sleep(time.Hour)
		if c, _ := p.saw(); c.rooms > 8 {
			t.Errorf("%d looks at the group in an idle hour", c.rooms)
		}
	})
}

// A queue ends when its time is over, not before, and is restored with space.
func TestQueueEnds(t *testing.T) {
	p := newFake(func(s *Status) { s.ErrorIfFull = false })
	p.room = 0
	with(t, p, queueing, func(t *testing.T, g *Guard, logged *journal) {
		synctest.Wait()
		full := time.Now()
		p.event(func(s *Status) { s.Data.Used, s.Mode = 100*gib, OutOfData })
		time.Sleep(29 * time.Second)
		if c, _ := p.saw(); c.sets != 0 {
			t.Errorf("ended after %s", c.setAt[0].Sub(full))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if c, status := p.saw(); c.sets != 1 || !status.ErrorIfFull || c.setAt[0].Sub(full) > queueing.QueueFor+fastTick {
			t.Fatalf("set %d times, at %v", c.sets, c.setAt)
		}
		if said := strings.Join(logged.at("error"), "\n"); !strings.Contains(said, "writes that waited for space fail now") {
			t.Errorf("logged %q", said)
		}
		time.Sleep(time.Minute)
		if c, _ := p.saw(); c.sets != 1 {
			t.Errorf("set %d times while full", c.sets)
		}
		p.event(func(s *Status) { s.Data.Used, s.Mode = 10*gib, Write })
		synctest.Wait()
		if _, status := p.saw(); status.ErrorIfFull {
			t.Error("the queue was not restored")
		}
		if g.View().FullFor != 0 {
			t.Errorf("full for %s", g.View().FullFor)
		}
	})
}

// The behaviour is set at the start, tried again when that fails.
func TestBehaviourIsSet(t *testing.T) {
	p := newFake(func(s *Status) { s.ErrorIfFull = false })
	p.setErr = errors.New("busy")
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		synctest.Wait()
		if f := g.Findings(); len(f) != 1 || f[0].ID != BehaviourUnset {
			t.Errorf("findings %+v", f)
		}
		p.quietly(func(p *fakePool) { p.setErr = nil })
		time.Sleep(firstRetry + slowTick)
		synctest.Wait()
		if _, status := p.saw(); !status.ErrorIfFull || len(g.Findings()) != 0 {
			t.Errorf("set: %v, findings %+v", status.ErrorIfFull, g.Findings())
		}
	})
}

// A kernel that does not answer, or says no: nothing is admitted, one
// question is in the kernel at a time, and the answer mends it.
func TestUnreadable(t *testing.T) {
	p := newFake(func(*Status) {})
	with(t, p, limits, func(t *testing.T, g *Guard, logged *journal) {
		synctest.Wait()
		hang := make(chan struct{})
		p.quietly(func(p *fakePool) { p.hang = hang })
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if v, err := g.Look(ctx); err != nil || !errdefs.IsUnavailable(v.Admit) || !strings.Contains(v.Admit.Error(), "has not answered for 10s") {
			t.Errorf("a look at a hung pool: %v, %v", v.Admit, err)
		}
		before, _ := p.saw()
		time.Sleep(time.Hour)
		p.quietly(func(p *fakePool) { p.hang = nil })
		close(hang)
		synctest.Wait()
		if after, _ := p.saw(); after.looks-before.looks > 2 {
			t.Errorf("%d questions were in the kernel", after.looks-before.looks)
		}
		if err := g.Admit(); err != nil || len(g.Findings()) != 0 {
			t.Errorf("after the answer: %v, %+v", err, g.Findings())
		}
		p.quietly(func(p *fakePool) { p.statusErr = errors.New("no such device") })
		if v, err := g.Look(ctx); err == nil && (!errdefs.IsUnavailable(v.Admit) || v.Findings[0].ID != Unreadable) {
			t.Errorf("a look at no pool: %+v, %v", v, err)
		}
		said := 0
		for _, line := range logged.at("error") {
			if strings.Contains(line, "cannot be read") {
				said++
			}
		}
		if said > 2 {
			t.Errorf("said %d times", said)
		}
	})
}

// Looks that are asked for see what was there before they were.
func TestLook(t *testing.T) {
	p := newFake(func(*Status) {})
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		for i := range uint64(20) {
			p.quietly(func(p *fakePool) { p.status.Data.Used = i })
			if v, err := g.Look(context.Background()); err != nil || v.Data.Used < i {
				t.Fatalf("look %d: %d, %v", i, v.Data.Used, err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := g.Look(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("look with a context that is over: %v", err)
		}
	})
}

// Close gives an extension up, and does not wait for what hangs in the kernel.
func TestClose(t *testing.T) {
	p := newFake(func(s *Status) { s.Data.Used = 95 * gib })
	p.slowExtend = time.Hour
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		synctest.Wait()
		before := time.Now()
		if err := g.Close(); err != nil || time.Since(before) > time.Second {
			t.Errorf("Close: %v after %s", err, time.Since(before))
		}
	})
	p = newFake(func(s *Status) { s.ErrorIfFull = false })
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		// The next setting of the behaviour hangs.
		synctest.Wait()
		hang := make(chan struct{})
		p.quietly(func(p *fakePool) { p.status.ErrorIfFull = false })
		time.Sleep(slowTick - time.Millisecond)
		p.quietly(func(p *fakePool) { p.hang = hang })
		time.Sleep(time.Second)
		before := time.Now()
		_ = g.Close()
		if took := time.Since(before); took > patience+time.Second {
			t.Errorf("Close took %s", took)
		}
		close(hang)
	})
}

func TestStartFails(t *testing.T) {
	p := newFake(func(*Status) {})
	p.statusErr = errors.New("no such device")
	if _, err := Start(context.Background(), Options{Limits: limits, Pool: p}); err == nil || !strings.Contains(err.Error(), "vg/varve-pool: no such device") {
		t.Errorf("Start: %v", err)
	}
}
