package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Status is how a pod is doing. Its writer is whoever holds the pod's lock.
// It is written without waiting for the disk, save when the pod has ended: a
// power cut ends a pod anyway.
type Status struct {
	// Phase is one of Kubernetes' pod phases.
	Phase corev1.PodPhase `json:"phase"`
	// Reason and Message say why, when the phase alone does not.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Boot is the boot id in which Phase was true. Another boot id means
	// that the machine went down under the pod.
	Boot string `json:"boot"`
	// IPs are the pod's addresses, the first one being "the" pod IP.
	IPs []string `json:"ips,omitempty"`
	// Started is when the sandbox was ready, Finished when the pod ended.
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// Ready is true while every ordinary container is.
	Ready bool `json:"ready"`
	// Released is true once nothing of the pod is left in the kernel; its
	// record, logs and writable layers stay until it is removed.
	Released bool `json:"released"`
	// Leftovers say what a teardown could not take away, and why.
	Leftovers []string `json:"leftovers,omitempty"`
	// Containers are the init containers, then the ordinary ones.
	Containers []ContainerStatus `json:"containers"`
}

// ContainerState is where a container is in its life.
type ContainerState string

const (
	// Waiting: not started yet, or waiting to be started again.
	Waiting ContainerState = "waiting"
	// Starting: the run numbered Attempt is being made.
	Starting ContainerState = "starting"
	// Running: its process runs.
	Running ContainerState = "running"
	// Terminated: its process has ended and will not be started again,
	// unless the pod's restart policy says so.
	Terminated ContainerState = "terminated"
)

// ContainerStatus is how one container is doing.
type ContainerStatus struct {
	Name  string `json:"name"`
	Init  bool   `json:"init,omitempty"`
	Image string `json:"image"`
	// ImageID is the digest that Image stood for when it was last started.
	ImageID string         `json:"imageID,omitempty"`
	ID      string         `json:"id"`
	State   ContainerState `json:"state"`
	// Reason and Message explain the state: CrashLoopBackOff, OOMKilled.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Attempt numbers the runs from 0; it is also the count of restarts.
	Attempt int `json:"attempt"`
	// Pid is the container's first process, StartTicks its start time as in
	// field 22 of /proc/PID/stat: a pid alone may be another process by now.
	Pid        int    `json:"pid,omitempty"`
	StartTicks uint64 `json:"startTicks,omitempty"`
	// Started and Finished are those of the run numbered Attempt.
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// ExitCode is that of the run numbered Attempt once it has ended: the
	// process's own, or 128 plus the signal that killed it; nil when it was
	// lost, because nobody was there to see it.
	ExitCode *int `json:"exitCode,omitempty"`
	// Ready is what the readiness probe says, or true without one.
	Ready bool `json:"ready"`
	// Last is the run before this one.
	Last *Run `json:"last,omitempty"`
	// NextStart is when a container in back-off will be started again.
	NextStart time.Time `json:"nextStart,omitzero"`
}

// Run is one ended run of a container.
type Run struct {
	Attempt  int       `json:"attempt"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	ExitCode *int      `json:"exitCode,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
}

// Ended tells whether the pod has run to its end.
func (s *Status) Ended() bool {
	return s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed
}

// Container finds a container's status by name; nil when there is none.
func (s *Status) Container(name string) *ContainerStatus {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

// NewStatus is the status of a pod of which nothing has started.
func NewStatus(r *Record, boot string) *Status {
	s := &Status{Phase: corev1.PodPending, Boot: boot}
	inits := len(r.Pod.Spec.InitContainers)
	for i, c := range r.Containers() {
		s.Containers = append(s.Containers, ContainerStatus{
			Name: c.Name, Init: i < inits, Image: c.Image, ID: r.ContainerID(c.Name), State: Waiting,
		})
	}
	return s
}
