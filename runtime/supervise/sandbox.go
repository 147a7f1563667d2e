package supervise

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/network"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/volume"
)

// sandbox makes everything that the containers share. The first containers
// are made meanwhile; they begin behind it.
func (s *Supervisor) sandbox(ctx context.Context) error {
	defer s.furnished.decide(false)
	s.prepareAhead(ctx)
	end := s.journal.Begin("sandbox", "")
	return end(s.makeSandbox(ctx))
}

func (s *Supervisor) makeSandbox(ctx context.Context) error {
	if err := s.folders(); err != nil {
		return err
	}
	pinned := s.journal.Begin("namespaces", "")
	if err := pinned(network.Pin(s.pins(), s.rec.Pod.Spec.Hostname)); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.join(gctx) })
	group.Go(func() error { return s.furnish(gctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.etc(); err != nil {
		return err
	}
	return s.update(func(st *pod.Status) {
		if st.Started.IsZero() {
			st.Started = time.Now().UTC()
		}
	})
}

// furnish makes what containers have mounted, at once.
func (s *Supervisor) furnish(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(s.shm)
	for i := range s.rec.Pod.Spec.Volumes {
		v := &s.rec.Pod.Spec.Volumes[i]
		group.Go(func() error { return s.makeVolume(gctx, v) })
	}
	err := group.Wait()
	s.furnished.decide(err == nil)
	return err
}

func (s *Supervisor) folders() error {
	for _, dir := range []string{s.paths.State, s.paths.Etc(""), s.paths.Volume(""), s.runtime.Root} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("pod %s: %w", s.rec.Key, err)
		}
	}
	for _, name := range etcFiles {
		f, err := os.OpenFile(s.paths.Etc(name), os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return fmt.Errorf("pod %s: make its /etc/%s: %w", s.rec.Key, name, err)
		}
	}
	return nil
}

// etcFiles are put over those of the containers' roots. They are made empty,
// for containers to be made with, and filled in place when the network has
// spoken: a file renamed over them would not be the one in the containers.
var etcFiles = []string{"hosts", "hostname", "resolv.conf"}

func (s *Supervisor) pins() network.Pins {
	return network.Pins{Net: s.paths.NetNS, IPC: s.paths.NS("ipc"), UTS: s.paths.NS("uts")}
}

// join adds the pod to the network. An earlier supervisor may have been killed
// before the sandbox was whole; the plug-in may know the pod then, and would
// refuse it or leak a second address: DEL first.
func (s *Supervisor) join(ctx context.Context) (err error) {
	end := s.journal.Begin("network", s.cfg.Network)
	defer func() { err = end(err) }()
	a := s.attachment()
	if st := s.Status(); st.Reason == joining || len(st.IPs) > 0 {
		if err := s.net.Del(ctx, a); err != nil {
			return err
		}
	}
	if err := s.update(func(st *pod.Status) { st.Reason = joining }); err != nil {
		return err
	}
	res, err := s.net.Add(ctx, a)
	if err != nil {
		return err
	}
	s.dns = res.DNS
	return s.update(func(st *pod.Status) { st.IPs, st.Reason = res.IPs, "" })
}

// joining is the reason of a pending pod whose CNI ADD is under way.
const joining = "JoiningNetwork"

func (s *Supervisor) attachment() network.Attachment {
	a := network.Attachment{ID: s.rec.UID, NetNS: s.paths.NetNS, Namespace: s.rec.Namespace, Name: s.rec.Name}
	for _, c := range s.rec.Pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			a.Ports = append(a.Ports, network.PortMapping{
				HostPort: p.HostPort, ContainerPort: p.ContainerPort,
				Protocol: protocol(p.Protocol), HostIP: p.HostIP,
			})
		}
	}
	return a
}

// protocol is CNI's name, in lower case.
func protocol(p corev1.Protocol) string {
	switch p {
	case corev1.ProtocolUDP:
		return "udp"
	case corev1.ProtocolSCTP:
		return "sctp"
	default:
		return "tcp"
	}
}

// shmSize is Docker's and CRI's.
const shmSize = "64m"

func (s *Supervisor) shm() error {
	path := s.paths.Shm()
	if volume.IsMount(path) {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("/dev/shm: %w", err)
	}
	failpoint.Hit("runtime.run.shm.before")
	err := unix.Mount("shm", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size="+shmSize)
	failpoint.Hit("runtime.run.shm.after")
	if err != nil {
		return fmt.Errorf("/dev/shm: mount tmpfs at %s: %w", path, err)
	}
	return nil
}

func (s *Supervisor) makeVolume(ctx context.Context, v *corev1.Volume) error {
	end := s.journal.Begin("volume", v.Name)
	return end(func() error {
		switch {
		case v.EmptyDir != nil:
			return volume.EmptyDir(s.emptyDir(v), v.EmptyDir)
		case v.HostPath != nil:
			return volume.HostPath(v.HostPath)
		default:
			c := v.PersistentVolumeClaim
			_, err := s.volumes.Publish(ctx, s.claim(c), s.rec.UID, s.paths.Volume(v.Name), c.ReadOnly)
			return err
		}
	}())
}

func (s *Supervisor) claim(c *corev1.PersistentVolumeClaimVolumeSource) pod.Key {
	return pod.Key{Namespace: s.rec.Namespace, Name: c.ClaimName}
}

// emptyDir is on disk with the record, or in memory with the mounts.
func (s *Supervisor) emptyDir(v *corev1.Volume) string {
	if v.EmptyDir.Medium == corev1.StorageMediumMemory {
		return s.paths.Volume(v.Name)
	}
	return filepath.Join(s.paths.EmptyDirs, v.Name)
}

// etc fills etcFiles.
func (s *Supervisor) etc() error {
	spec := &s.rec.Pod.Spec
	resolv, err := network.ResolvConf(spec, s.dns)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"hosts":       network.Hosts(spec, s.Status().IPs),
		"hostname":    spec.Hostname + "\n",
		"resolv.conf": resolv,
	} {
		if err := os.WriteFile(s.paths.Etc(name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("pod %s: write its /etc/%s: %w", s.rec.Key, name, err)
		}
	}
	return nil
}
