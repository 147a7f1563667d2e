package supervise

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/runtime/pod"
)

// ahead is a container's first run in the making, while the pod is still
// joining its network.
type ahead struct {
	// done is closed when no more will be made; the rest is read after it.
	done chan struct{}
	img  image.Image
	// bundle is true when the runtime's bundle is written.
	bundle bool
	// made is the run once the OCI runtime has created it: all but the
	// execution of its program.
	made *running
	err  error
}

// furnished is decided once: whether everything is there that a container is
// made of, save the network.
type furnished struct {
	once    sync.Once
	decided chan struct{}
	yes     bool
}

func (f *furnished) decide(yes bool) {
	f.once.Do(func() {
		f.yes = yes
		close(f.decided)
	})
}

// prepareAhead starts making the first run of every container that has not
// run yet: its root, its bundle, and for those whose turn comes first the
// container itself. Making it takes the OCI runtime longer than all else of a
// pod's start, and needs the network's namespace only, not its addresses.
func (s *Supervisor) prepareAhead(ctx context.Context) {
	for i, c := range s.rec.Containers() {
		st := s.current(c.Name)
		if st.State != pod.Waiting || st.Attempt > 0 {
			continue
		}
		// Behind an init container a made one would only hold memory.
		create := i == 0 || len(s.rec.Pod.Spec.InitContainers) == 0
		a := &ahead{done: make(chan struct{})}
		s.ahead[c.Name] = a
		go func() {
			defer close(a.done)
			a.err = s.makeAhead(ctx, c, a, create)
		}()
	}
}

func (s *Supervisor) makeAhead(ctx context.Context, c *corev1.Container, a *ahead, create bool) (err error) {
	if a.img, err = s.makeRootfs(ctx, c, 0); err != nil {
		return err
	}
	if len(c.VolumeDevices) > 0 {
		return nil // a device's numbers are known once it is there
	}
	if err := s.writeBundle(ctx, c, a.img); err != nil {
		return err
	}
	a.bundle = true
	if <-s.furnished.decided; !create || !s.furnished.yes || s.stopping() {
		return nil
	}
	end := s.journal.Begin("create", c.Name)
	a.made, err = s.launch(ctx, c, 0, a.img, s.runtime.Create)
	return end(err)
}

// rootfsOf gives the root of a run: the one made ahead, or a new one.
func (s *Supervisor) rootfsOf(ctx context.Context, c *corev1.Container, attempt int) (image.Image, error) {
	if a := s.ahead[c.Name]; a != nil && attempt == 0 {
		<-a.done
		return a.img, a.err
	}
	return s.makeRootfs(ctx, c, attempt)
}

// take gives the run that was made ahead, once; nil when there is none.
func (s *Supervisor) take(container string, attempt int) *running {
	a := s.ahead[container]
	if a == nil || attempt > 0 {
		return nil
	}
	r := a.made
	a.made = nil
	return r
}

// settleAhead waits until nothing is being made any more, and takes away the
// containers that will not begin.
func (s *Supervisor) settleAhead(ctx context.Context) {
	for name, a := range s.ahead {
		<-a.done
		r := s.take(name, 0)
		if r == nil {
			continue
		}
		if err := s.discard(ctx, name, r); err != nil {
			s.journal.Note("stop", name, "%v", err)
		}
	}
}

// discard takes away a run that was made and has not begun.
func (s *Supervisor) discard(ctx context.Context, container string, r *running) error {
	reaped := make(chan struct{})
	go func() {
		waitExit(r)
		close(reaped)
	}()
	if err := s.runtime.Delete(ctx, s.rec.ContainerID(container)); err != nil {
		return fmt.Errorf("container %q: %w", container, err)
	}
	<-reaped
	return r.out.finish()
}
