package supervise

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/pod"
)

// killer ends a container that a probe gave up on, and remembers why.
type killer struct {
	mu  sync.Mutex
	why string
}

func (k *killer) reason() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.why
}

// startProbes starts the probes of a run. They end with ctx.
func (s *Supervisor) startProbes(ctx context.Context, wg *sync.WaitGroup, c *corev1.Container, r *running) *killer {
	k := &killer{}
	if c.LivenessProbe == nil && c.ReadinessProbe == nil && c.StartupProbe == nil {
		return k
	}
	begun := time.Now()
	wg.Add(1)
	go func() {
		defer wg.Done()
		if c.StartupProbe != nil {
			ok := s.probeLoop(ctx, c, c.StartupProbe, "startup", begun, func(good bool, text string) (done bool) {
				if !good {
					s.killFor(ctx, k, c, r, "startup probe failed: "+text)
				}
				return true
			})
			if !ok || k.reason() != "" {
				return
			}
			if c.ReadinessProbe == nil {
				s.setReady(c, true, "")
			}
		}
		if c.LivenessProbe != nil {
			wg.Add(1)
			go func() {
				defer wg.Done()
				s.probeLoop(ctx, c, c.LivenessProbe, "liveness", begun, func(good bool, text string) bool {
					if good {
						return false
					}
					s.killFor(ctx, k, c, r, "liveness probe failed: "+text)
					return true
				})
			}()
		}
		if c.ReadinessProbe != nil {
			s.probeLoop(ctx, c, c.ReadinessProbe, "readiness", begun, func(good bool, text string) bool {
				s.setReady(c, good, text)
				return false
			})
		}
	}()
	return k
}

// probeLoop probes until verdict says it is done or ctx ends. verdict is
// called each time the thresholds are crossed: with true after
// successThreshold successes in a row, with false after failureThreshold
// failures in a row. It reports whether verdict ended it.
func (s *Supervisor) probeLoop(ctx context.Context, c *corev1.Container, p *corev1.Probe, kind string, begun time.Time,
	verdict func(good bool, text string) bool) bool {
	wait := time.Until(begun.Add(time.Duration(p.InitialDelaySeconds) * time.Second))
	good, bad := int32(0), int32(0)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
		wait = time.Duration(p.PeriodSeconds) * time.Second
		err := s.probe(ctx, c, p)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			good, bad = good+1, 0
			if good == p.SuccessThreshold && verdict(true, "") {
				return true
			}
			continue
		}
		good, bad = 0, bad+1
		if bad == 1 || bad == p.FailureThreshold {
			s.journal.Note("probe", c.Name, "%s: %v", kind, err)
		}
		if bad == p.FailureThreshold && verdict(false, err.Error()) {
			return true
		}
	}
}

// probe asks once.
func (s *Supervisor) probe(ctx context.Context, c *corev1.Container, p *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.TimeoutSeconds)*time.Second)
	defer cancel()
	switch {
	case p.Exec != nil:
		return s.probeExec(ctx, c, p.Exec)
	case p.HTTPGet != nil:
		return probeHTTP(ctx, c, p.HTTPGet, s.podIP())
	default:
		return probeTCP(ctx, c, p.TCPSocket, s.podIP())
	}
}

func (s *Supervisor) podIP() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.status.IPs) == 0 {
		return ""
	}
	return s.status.IPs[0]
}

func (s *Supervisor) setReady(c *corev1.Container, ready bool, why string) {
	if s.current(c.Name).Ready == ready {
		return
	}
	err := s.container(c.Name, func(st *pod.ContainerStatus) {
		if st.State == pod.Running {
			st.Ready, st.Message = ready, why
		}
	})
	if err != nil {
		s.journal.Note("probe", c.Name, "%v", err)
		return
	}
	s.journal.Note("ready", c.Name, "%t%s", ready, colon(why))
}

// killFor ends a container that failed its probe; its loop sees the end and
// starts it again as its policy says.
func (s *Supervisor) killFor(ctx context.Context, k *killer, c *corev1.Container, r *running, why string) {
	k.mu.Lock()
	k.why = why
	k.mu.Unlock()
	s.journal.Note("probe", c.Name, "%s: the container is stopped", why)
	st := s.current(c.Name)
	st.Pid, st.StartTicks = r.proc.Pid, r.proc.StartTicks
	if err := s.killContainer(ctx, st, s.gracePeriod()); err != nil {
		s.journal.Note("probe", c.Name, "%v", err)
		if fd, err := r.proc.Open(); err == nil {
			_ = sendSignal(fd, unix.SIGKILL)
			closeFD(fd)
		}
	}
}
