package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/runtime/oci"
	"github.com/varve-project/varve/runtime/pod"
)

// running is a container whose process runs.
type running struct {
	proc  pod.Process
	child bool
	out   *copying
}

// startContainer makes one run of a container, from its root to its process.
// The run's number is in the status before anything of it exists.
func (s *Supervisor) startContainer(ctx context.Context, c *corev1.Container) (*running, error) {
	st := s.current(c.Name)
	img, err := s.rootfsOf(ctx, c, st.Attempt)
	if err != nil {
		return nil, err
	}
	end := s.journal.Begin("start", c.Name)
	r, err := s.start(ctx, c, st.Attempt, img)
	return r, end(err)
}

func (s *Supervisor) start(ctx context.Context, c *corev1.Container, attempt int, img image.Image) (*running, error) {
	r := s.take(c.Name, attempt)
	var err error
	if r == nil {
		r, err = s.launch(ctx, c, attempt, img, s.runtime.Run)
	} else if err = s.runtime.Start(ctx, s.rec.ContainerID(c.Name)); err != nil {
		err = errors.Join(fmt.Errorf("container %q: %w", c.Name, err), s.discard(ctx, c.Name, r))
	}
	if err != nil {
		return nil, err
	}
	return r, s.container(c.Name, func(st *pod.ContainerStatus) {
		st.State, st.Pid, st.StartTicks = pod.Running, r.proc.Pid, r.proc.StartTicks
		st.Started, st.Finished, st.ExitCode = time.Now().UTC(), time.Time{}, nil
		st.Ready = c.ReadinessProbe == nil && c.StartupProbe == nil && !s.inits[c.Name]
	})
}

// launch has the OCI runtime make a run, by its Run or its Create.
func (s *Supervisor) launch(ctx context.Context, c *corev1.Container, attempt int, img image.Image,
	run func(ctx context.Context, id, bundle string, io oci.Stdio) (int, error),
) (*running, error) {
	err := s.container(c.Name, func(st *pod.ContainerStatus) {
		st.State, st.Reason, st.Message, st.ImageID = pod.Starting, "", "", img.Target.Digest.String()
		st.NextStart = time.Time{}
	})
	if err != nil {
		return nil, err
	}
	if a := s.ahead[c.Name]; a == nil || attempt > 0 || !a.bundle {
		if err := s.writeBundle(ctx, c, img); err != nil {
			return nil, err
		}
	}
	stdio, out, err := s.openStdio(c.Name, attempt)
	if err != nil {
		return nil, err
	}
	pid, err := run(ctx, s.rec.ContainerID(c.Name), s.paths.Bundle(c.Name), stdio)
	err = errors.Join(err, closeStdio(stdio))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("container %q: %w", c.Name, err), out.finish())
	}
	proc, err := pod.FindProcess(pid)
	if errors.Is(err, pod.ErrNoProcess) {
		// It has ended already; its zombie waits for us under its pid.
		proc, err = pod.Process{Pid: pid}, nil
	}
	if err != nil {
		return nil, errors.Join(err, out.finish())
	}
	return &running{proc: proc, child: true, out: out}, nil
}

func (s *Supervisor) writeBundle(ctx context.Context, c *corev1.Container, img image.Image) error {
	in := oci.Container{
		ID: s.rec.ContainerID(c.Name), Pod: s.rec.Pod, Container: c, Image: img.Config,
		Rootfs: s.paths.Rootfs(c.Name),
		NetNS:  s.paths.NetNS, IPCNS: s.paths.NS("ipc"), UTSNS: s.paths.NS("uts"),
		Shm:         s.paths.Shm(),
		CgroupsPath: filepath.Join(s.rec.CgroupPath(), c.Name),
	}
	for _, name := range etcFiles {
		in.Files = append(in.Files, oci.Mount{Source: s.paths.Etc(name), Destination: "/etc/" + name})
	}
	for _, m := range c.VolumeMounts {
		v := s.volume(m.Name)
		ro := m.ReadOnly || v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
		in.Volumes = append(in.Volumes, oci.Mount{Source: s.volumePath(v), Destination: m.MountPath, ReadOnly: ro})
	}
	for _, d := range c.VolumeDevices {
		v := s.volume(d.Name)
		in.Devices = append(in.Devices, oci.Device{
			Source: s.volumePath(v), Destination: d.DevicePath, ReadOnly: v.PersistentVolumeClaim.ReadOnly,
		})
	}
	spec, err := oci.Spec(ctx, in)
	if err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("container %q: %w", c.Name, err)
	}
	if err := os.WriteFile(filepath.Join(s.paths.Bundle(c.Name), "config.json"), data, 0o600); err != nil {
		return fmt.Errorf("container %q: %w", c.Name, err)
	}
	return nil
}

// volume finds a volume of the pod; the manifest was validated, so it exists.
func (s *Supervisor) volume(name string) *corev1.Volume {
	for i := range s.rec.Pod.Spec.Volumes {
		if v := &s.rec.Pod.Spec.Volumes[i]; v.Name == name {
			return v
		}
	}
	return &corev1.Volume{}
}

func (s *Supervisor) volumePath(v *corev1.Volume) string {
	switch {
	case v.HostPath != nil:
		return v.HostPath.Path
	case v.EmptyDir != nil:
		return s.emptyDir(v)
	default:
		return s.paths.Volume(v.Name)
	}
}

// adopt finds a container as an earlier supervisor left it: running, or nil
// when it does not run.
func (s *Supervisor) adopt(ctx context.Context, name string) (*running, error) {
	st := s.current(name)
	proc := pod.Process{Pid: st.Pid, StartTicks: st.StartTicks}
	if st.State == pod.Starting {
		// The status was not written any more, but the process may run.
		state, err := s.runtime.State(ctx, st.ID)
		if errors.Is(err, oci.ErrNoContainer) || err == nil && state.Status != "running" {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if proc, err = pod.FindProcess(state.Pid); err != nil {
			return nil, nil
		}
	}
	fd, err := proc.Open()
	if err != nil {
		return nil, nil
	}
	defer closeFD(fd)
	out, err := s.adoptStdio(name, st.Attempt)
	if err != nil {
		return nil, err
	}
	s.journal.Note("adopt", name, "process %d runs on", proc.Pid)
	return &running{proc: proc, out: out}, s.container(name, func(st *pod.ContainerStatus) {
		st.State, st.Pid, st.StartTicks = pod.Running, proc.Pid, proc.StartTicks
		if st.Started.IsZero() {
			st.Started = time.Now().UTC()
		}
	})
}
