package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/pod"
)

// Run makes what is wanted of the pod true and stays with it until it has
// ended: it starts or adopts its containers, or stops and removes them. When
// it returns, nothing of the pod is in the kernel any more, save what the
// status lists as left over.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := becomeSubreaper(); err != nil {
		return err
	}
	rctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go reapOrphans(rctx)
	defer s.leaving.Wait()
	desired, err := s.store.Desired(s.rec)
	if err != nil {
		return err
	}
	s.setDesired(desired)
	if st := s.Status(); !st.Ended() && !s.stopping() {
		if st.Boot != "" && st.Boot != s.boot {
			return s.end(ctx, "NodeRebooted", "the machine went down while the pod ran")
		}
		end, err := s.watchDesired()
		if err != nil {
			return err
		}
		defer end()
		if err := s.live(ctx); err != nil && !errors.Is(err, errStopped) {
			s.journal.Note("failed", "", "%v", err)
			return errors.Join(err, s.end(ctx, "StartError", err.Error()))
		}
	}
	s.settleAhead(ctx)
	if err := s.stopAdopted(ctx); err != nil {
		s.journal.Note("stop", "", "%v", err)
	}
	return s.end(ctx, "", "")
}

// live takes the pod from what is there to its end.
func (s *Supervisor) live(ctx context.Context) error {
	lctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.stopWhenTold(ctx, lctx.Done())
	if s.Status().Started.IsZero() {
		if err := s.sandbox(lctx); err != nil {
			return s.giveUp(ctx, err)
		}
	}
	if err := s.runInits(lctx); err != nil {
		return s.giveUp(ctx, err)
	}
	if s.stopping() {
		return errStopped
	}
	err := s.runContainers(lctx, func() error {
		if s.Status().Phase == corev1.PodRunning {
			return nil
		}
		err := s.update(func(st *pod.Status) { st.Phase, st.Reason, st.Message = corev1.PodRunning, "", "" })
		s.journal.Note("started", "", "every container runs")
		return err
	})
	if err != nil {
		return s.giveUp(ctx, err)
	}
	return nil
}

// giveUp ends the containers of a pod that cannot be started.
func (s *Supervisor) giveUp(ctx context.Context, err error) error {
	s.requestStop()
	s.settleAhead(ctx)
	return err
}

// stopWhenTold ends the containers once the pod shall stop; their loops see
// the ends and return.
func (s *Supervisor) stopWhenTold(ctx context.Context, done <-chan struct{}) {
	select {
	case <-s.stop:
	case <-done:
		return
	}
	for {
		if err := s.killContainers(ctx, s.gracePeriod()); err != nil {
			s.journal.Note("stop", "", "%v", err)
		}
		// A container that was being started when the stop came runs now.
		select {
		case <-done:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stopAdopted ends containers that run without a loop of ours: those of a
// pod that a command stops or removes in place of its dead supervisor.
func (s *Supervisor) stopAdopted(ctx context.Context) error {
	st := s.Status()
	for i := range s.rec.Containers() {
		c := s.rec.Containers()[i]
		if cs := st.Container(c.Name); cs.State != pod.Running && cs.State != pod.Starting {
			continue
		}
		r, err := s.adopt(ctx, c.Name)
		if err != nil {
			return err
		}
		if r == nil {
			e := lost("it ended while no supervisor looked after the pod")
			if cs := s.current(c.Name); cs.State == pod.Starting {
				e = exit{reason: "NotStarted", text: "the pod was stopped before this run began"}
			}
			if err := s.ended(c, e); err != nil {
				return err
			}
			continue
		}
		ended := make(chan exit, 1)
		go func() { ended <- waitExit(r) }()
		if err := s.killContainer(ctx, s.current(c.Name), s.gracePeriod()); err != nil {
			return err
		}
		e := <-ended
		if err := errors.Join(r.out.finish(), s.ended(c, e)); err != nil {
			return err
		}
	}
	return nil
}

// end writes how the pod ended and takes its effects away; with it the
// record, when the pod shall be removed.
func (s *Supervisor) end(ctx context.Context, reason, message string) error {
	remove := s.goal() == pod.GoalRemove
	left := s.release(ctx, remove)
	err := s.update(func(st *pod.Status) {
		if !st.Ended() {
			st.Finished = time.Now().UTC()
			st.Phase, st.Reason, st.Message = s.endPhase(st), reason, message
			if reason == "" && s.stopping() {
				st.Reason = "Stopped"
			}
		}
		st.Released = len(left) == 0
		st.Leftovers = nil
		for _, l := range left {
			st.Leftovers = append(st.Leftovers, l.Error())
		}
		for i := range st.Containers {
			c := &st.Containers[i]
			if c.State != pod.Terminated {
				c.State, c.NextStart, c.Ready = pod.Terminated, time.Time{}, false
			}
		}
	})
	if err != nil || len(left) > 0 {
		return errors.Join(append(left, err)...)
	}
	if !remove {
		return nil
	}
	if err := s.store.Delete(s.rec); err != nil {
		return fmt.Errorf("pod %s: %w", s.rec.Key, err)
	}
	return nil
}

// endPhase: a pod has succeeded when every container of it has.
func (s *Supervisor) endPhase(st *pod.Status) corev1.PodPhase {
	for _, c := range st.Containers {
		if c.ExitCode == nil || *c.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func (s *Supervisor) goal() pod.Goal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desired.Goal
}

// setDesired takes note of a command's word.
func (s *Supervisor) setDesired(d pod.Desired) {
	s.mu.Lock()
	s.desired = d
	s.mu.Unlock()
	if d.Goal != pod.GoalRun {
		s.requestStop()
	}
}
