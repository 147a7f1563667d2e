package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/pod"
)

// errStopped means that the pod was told to stop.
var errStopped = errors.New("the pod was told to stop")

// runInits runs the init containers one after another. An init container
// that fails is run again, unless the pod's restart policy is Never.
func (s *Supervisor) runInits(ctx context.Context) error {
	for i := range s.rec.Pod.Spec.InitContainers {
		c := &s.rec.Pod.Spec.InitContainers[i]
		if st := s.current(c.Name); st.State == pod.Terminated && st.ExitCode != nil && *st.ExitCode == 0 {
			continue
		}
		if err := s.keepRunning(ctx, c, nil); err != nil {
			return err
		}
		if s.stopping() {
			return errStopped
		}
		if st := s.current(c.Name); st.ExitCode == nil || *st.ExitCode != 0 {
			return fmt.Errorf("init container %q failed: %s", c.Name, describe(st))
		}
	}
	return nil
}

// runContainers runs the ordinary containers until each has ended for good.
// started is called once all of them run.
func (s *Supervisor) runContainers(ctx context.Context, started func() error) error {
	containers := s.rec.Pod.Spec.Containers
	errs := make([]error, len(containers))
	var all, up sync.WaitGroup
	for i := range containers {
		all.Add(1)
		up.Add(1)
		go func() {
			defer all.Done()
			first := sync.OnceFunc(up.Done)
			defer first()
			errs[i] = s.keepRunning(ctx, &containers[i], first)
			if errs[i] != nil {
				s.requestStop() // one that cannot start ends the pod
			}
		}()
	}
	up.Wait()
	var err error
	if !s.stopping() {
		err = started()
	}
	all.Wait()
	return errors.Join(append(errs, err)...)
}

// keepRunning starts a container, waits for its end, and starts it again as
// the restart policy says. It returns an error when the first start fails or
// the status cannot be written; how the container ended is in the status.
func (s *Supervisor) keepRunning(ctx context.Context, c *corev1.Container, up func()) error {
	restarts := backoff{}
	r, err := s.firstRun(ctx, c)
	for {
		if err != nil {
			return err
		}
		if r != nil {
			if up != nil {
				up()
			}
			if err := s.watch(ctx, c, r); err != nil {
				return err
			}
		}
		st := s.current(c.Name)
		if s.stopping() || !s.wantsRestart(c, st) {
			return nil
		}
		if err := s.delayRestart(c, restarts.next(st.Finished.Sub(st.Started))); err != nil {
			if errors.Is(err, errStopped) {
				return nil
			}
			return err
		}
		if r, err = s.restart(ctx, c); err != nil {
			if s.stopping() {
				return nil
			}
			// A container that has run once is tried again for ever, as
			// kubelet does.
			if err = s.ended(c, exit{code: ptr(startFailed), reason: "StartError", text: err.Error()}); err != nil {
				return err
			}
			r = nil
		}
	}
}

// startFailed is the exit code of a run that did not start, as with Docker
// and containerd.
const startFailed = 128

func ptr[T any](v T) *T { return &v }

// firstRun starts a container, or adopts it, or finds that it has ended.
func (s *Supervisor) firstRun(ctx context.Context, c *corev1.Container) (*running, error) {
	st := s.current(c.Name)
	if s.ahead[c.Name] != nil {
		return s.startUnlessStopped(ctx, c) // this very process makes it
	}
	switch st.State {
	case pod.Terminated:
		return nil, nil
	case pod.Running, pod.Starting:
		r, err := s.adopt(ctx, c.Name)
		if r != nil || err != nil {
			return r, err
		}
		if st.State == pod.Running {
			return nil, s.ended(c, lost("it ended while no supervisor looked after the pod"))
		}
		if err := s.runtime.Delete(ctx, st.ID); err != nil {
			return nil, err
		}
	case pod.Waiting:
		if !st.NextStart.IsZero() {
			return nil, nil // it has run, and its back-off goes on
		}
	}
	return s.startUnlessStopped(ctx, c)
}

func (s *Supervisor) startUnlessStopped(ctx context.Context, c *corev1.Container) (*running, error) {
	if s.stopping() {
		return nil, nil
	}
	return s.startContainer(ctx, c)
}

// watch looks after a run until it ends.
func (s *Supervisor) watch(ctx context.Context, c *corev1.Container, r *running) error {
	pctx, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	kill := s.startProbes(pctx, &probes, c, r)
	e := waitExit(r)
	cancel()
	probes.Wait()
	if why := kill.reason(); why != "" {
		e.text = why
	}
	if err := r.out.finish(); err != nil {
		s.journal.Note("log", c.Name, "output was cut short: %v", err)
	}
	if oom, err := s.wasOOMKilled(c.Name); err == nil && oom && e.code != nil && *e.code != 0 {
		e.reason = "OOMKilled"
	}
	return s.ended(c, e)
}

// ended writes down how a run ended.
func (s *Supervisor) ended(c *corev1.Container, e exit) error {
	code := "lost"
	if e.code != nil {
		code = fmt.Sprint(*e.code)
	}
	s.journal.Note("exit", c.Name, "exit status %s, %s%s", code, e.reason, colon(e.text))
	return s.container(c.Name, func(st *pod.ContainerStatus) {
		st.State, st.ExitCode, st.Reason, st.Message = pod.Terminated, e.code, e.reason, e.text
		st.Pid, st.StartTicks, st.Ready, st.NextStart = 0, 0, false, time.Time{}
		st.Finished = time.Now().UTC()
	})
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// wantsRestart applies the restart policy. A lost exit status counts as a
// failure.
func (s *Supervisor) wantsRestart(c *corev1.Container, st pod.ContainerStatus) bool {
	ok := st.State == pod.Terminated && st.ExitCode != nil && *st.ExitCode == 0
	switch s.rec.Pod.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return !ok
	default:
		return !ok || !s.inits[c.Name]
	}
}

// delayRestart waits out the back-off, in the status for all to see.
func (s *Supervisor) delayRestart(c *corev1.Container, delay time.Duration) error {
	if st := s.current(c.Name); !st.NextStart.IsZero() {
		delay = time.Until(st.NextStart) // an earlier supervisor's back-off
	}
	if delay <= 0 {
		return nil
	}
	err := s.container(c.Name, func(st *pod.ContainerStatus) {
		st.NextStart = time.Now().Add(delay).UTC()
		if st.State == pod.Terminated {
			st.Last = lastRun(st)
		}
		st.State, st.Reason = pod.Waiting, "CrashLoopBackOff"
		st.Message = fmt.Sprintf("back-off of %s before the next start", delay.Round(time.Second))
	})
	if err != nil {
		return err
	}
	select {
	case <-time.After(delay):
		return nil
	case <-s.stop:
		return errStopped
	}
}

func lastRun(st *pod.ContainerStatus) *pod.Run {
	return &pod.Run{
		Attempt: st.Attempt, Started: st.Started, Finished: st.Finished,
		ExitCode: st.ExitCode, Reason: st.Reason, Message: st.Message,
	}
}

// restart takes the last run away and starts the next, from a fresh root.
func (s *Supervisor) restart(ctx context.Context, c *corev1.Container) (*running, error) {
	if s.stopping() {
		return nil, errStopped
	}
	if err := s.dropRun(ctx, c.Name); err != nil {
		return nil, err
	}
	err := s.container(c.Name, func(st *pod.ContainerStatus) {
		if st.State == pod.Terminated {
			st.Last = lastRun(st)
		}
		st.Attempt++
		st.State, st.NextStart = pod.Starting, time.Time{}
		st.Started, st.Finished, st.ExitCode = time.Time{}, time.Time{}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.startContainer(ctx, c)
}

// dropRun takes away everything of a run that has ended, but its log.
func (s *Supervisor) dropRun(ctx context.Context, name string) error {
	st := s.current(name)
	if err := s.runtime.Delete(ctx, st.ID); err != nil {
		return err
	}
	if err := s.unmountRootfs(name); err != nil {
		return err
	}
	return s.images.Release(ctx, s.rec.SnapshotKey(name, st.Attempt))
}

func describe(st pod.ContainerStatus) string {
	switch {
	case st.ExitCode == nil:
		return "exit status lost" + colon(st.Message)
	case st.Message != "":
		return fmt.Sprintf("exit status %d: %s", *st.ExitCode, st.Message)
	default:
		return fmt.Sprintf("exit status %d, %s", *st.ExitCode, st.Reason)
	}
}
