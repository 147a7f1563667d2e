package cli

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/pod"
)

// view is a pod as `pod ls` and `pod inspect` print it. Its JSON form is a
// contract: fields are added, never renamed or removed.
type view struct {
	Metadata viewMeta       `json:"metadata"`
	Spec     corev1.PodSpec `json:"spec"`
	Status   *pod.Status    `json:"status"`
	// Desired is run, stop or remove.
	Desired pod.Goal `json:"desired"`
	// LogFolder is where the containers' logs are.
	LogFolder string `json:"logFolder"`
	// NetNS is where the pod's network namespace is pinned.
	NetNS string `json:"netns"`
	// Supervisor is the pid of the process that looks after the pod, 0 when
	// there is none.
	Supervisor int `json:"supervisor"`
}

type viewMeta struct {
	pod.Key
	UID         string            `json:"uid"`
	Created     time.Time         `json:"created"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func viewOf(store *pod.Store, r *pod.Record) (view, error) {
	st, err := store.Status(r)
	if err != nil {
		return view{}, err
	}
	desired, err := store.Desired(r)
	if err != nil {
		return view{}, err
	}
	paths := store.Paths(r)
	v := view{
		Metadata: viewMeta{r.Key, r.UID, r.Created, r.Pod.Labels, r.Pod.Annotations},
		Spec:     r.Pod.Spec, Status: st, Desired: desired.Goal,
		LogFolder: paths.Logs(""), NetNS: paths.NetNS,
	}
	if holder, err := store.Holder(r.Key); err == nil {
		if now, err := pod.FindProcess(holder.Pid); err == nil && now == holder {
			v.Supervisor = holder.Pid
		}
	}
	return v, nil
}

// ready is "1/2": how many ordinary containers are ready.
func (v view) ready() string {
	ready, all := 0, 0
	for _, c := range v.Status.Containers {
		if c.Init {
			continue
		}
		all++
		if c.Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, all)
}

// word is the one word that says most, as kubectl chooses it.
func (v view) word() string {
	st := v.Status
	switch {
	case v.Desired == pod.GoalRemove && len(st.Leftovers) > 0:
		return "RemovePending"
	case v.Desired != pod.GoalRun && !st.Ended():
		return "Stopping"
	case st.Ended() && st.Reason != "":
		return st.Reason
	case st.Phase == corev1.PodSucceeded:
		return "Completed"
	case st.Phase == corev1.PodFailed:
		for _, c := range st.Containers {
			if c.Reason != "" && (c.ExitCode == nil || *c.ExitCode != 0) {
				return c.Reason
			}
		}
		return "Error"
	}
	for _, c := range st.Containers {
		switch {
		case c.Init && c.State == pod.Waiting && c.Reason != "":
			return "Init:" + c.Reason
		case c.Init && c.State == pod.Running:
			return "Init"
		case !c.Init && c.State == pod.Waiting && c.Reason != "":
			return c.Reason
		}
	}
	return string(st.Phase)
}

func (v view) restarts() int {
	n := 0
	for _, c := range v.Status.Containers {
		n += c.Attempt
	}
	return n
}

func (v view) images() []string {
	var images []string
	for _, c := range v.Status.Containers {
		images = append(images, c.Image)
	}
	return images
}

func list(items []string) string {
	if len(items) == 0 {
		return "-"
	}
	return strings.Join(items, ",")
}
