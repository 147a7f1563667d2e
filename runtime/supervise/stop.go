package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/runtime/pod"
)

// killContainers asks every container that runs to stop, and kills what is
// left after the grace period. It returns at once for those that do not run.
// The loops of the containers see the ends.
func (s *Supervisor) killContainers(ctx context.Context, grace time.Duration) error {
	st := s.Status()
	errs := make([]error, len(st.Containers))
	var wg sync.WaitGroup
	for i, c := range st.Containers {
		if c.State != pod.Running || !s.firstKill(c) {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = s.killContainer(ctx, c, grace)
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// firstKill tells whether a run has not been killed yet: its loop may take a
// moment to see its end.
func (s *Supervisor) firstKill(c pod.ContainerStatus) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killed[c.Name] == c.Pid {
		return false
	}
	s.killed[c.Name] = c.Pid
	return true
}

func (s *Supervisor) killContainer(ctx context.Context, c pod.ContainerStatus, grace time.Duration) (err error) {
	end := s.journal.Begin("stop", c.Name)
	defer func() { err = end(err) }()
	proc := pod.Process{Pid: c.Pid, StartTicks: c.StartTicks}
	fd, err := proc.Open()
	if err != nil {
		return nil // it has ended
	}
	defer closeFD(fd)
	if grace > 0 {
		if err := sendSignal(fd, s.stopSignal(ctx, c)); err != nil {
			return fmt.Errorf("container %q: %w", c.Name, err)
		}
		if waitFD(fd, grace, s.grace) {
			return nil
		}
		s.journal.Note("stop", c.Name, "did not stop within %s: killed", grace)
	}
	if err := sendSignal(fd, unix.SIGKILL); err != nil {
		return fmt.Errorf("container %q: %w", c.Name, err)
	}
	if !waitFD(fd, killTimeout, nil) {
		return fmt.Errorf("container %q: process %d does not end after SIGKILL; what does it wait for? `cat /proc/%d/stack`", c.Name, c.Pid, c.Pid)
	}
	return nil
}

// killTimeout is how long a killed process may take; one that waits for a
// device is not to be killed, and nobody shall wait for it.
const killTimeout = 10 * time.Second

// stopSignal is the image's, or SIGTERM.
func (s *Supervisor) stopSignal(ctx context.Context, c pod.ContainerStatus) unix.Signal {
	img, err := s.images.Get(ctx, c.Image)
	if err != nil || img.Config.Config.StopSignal == "" {
		return unix.SIGTERM
	}
	name := strings.ToUpper(img.Config.Config.StopSignal)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig
	}
	var n int
	if _, err := fmt.Sscanf(img.Config.Config.StopSignal, "%d", &n); err == nil && n > 0 && n < 65 {
		return unix.Signal(n)
	}
	return unix.SIGTERM
}

func sendSignal(fd int, sig unix.Signal) error {
	err := unix.PidfdSendSignal(fd, sig, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s: %w", unix.SignalName(sig), err)
	}
	return nil
}

// waitFD waits until a process has ended, or a command has shortened its
// grace period to less than has passed. It reports whether it has ended.
func waitFD(fd int, limit time.Duration, shortened func() (time.Duration, bool)) bool {
	start := time.Now()
	for {
		left := limit - time.Since(start)
		if shortened != nil {
			if g, ok := shortened(); ok {
				left = min(left, g-time.Since(start))
			}
		}
		if left <= 0 {
			return false
		}
		step := int(min(left, 100*time.Millisecond)/time.Millisecond) + 1
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, step); err == nil && n > 0 {
			return true
		}
	}
}

// grace is what a command said of the grace period, if one did.
func (s *Supervisor) grace() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desired.GraceSeconds == nil {
		return 0, false
	}
	return time.Duration(*s.desired.GraceSeconds) * time.Second, true
}

func (s *Supervisor) gracePeriod() time.Duration {
	if g, ok := s.grace(); ok {
		return g
	}
	return time.Duration(*s.rec.Pod.Spec.TerminationGracePeriodSeconds) * time.Second
}
