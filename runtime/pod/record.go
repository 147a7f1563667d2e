package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/config"
)

// Record is what a pod is. It is written once, durably, before the first
// effect, and removed after the last.
type Record struct {
	Key
	// UID is unique for all time: a pod made again under the same name has
	// another. Every kernel object and every foreign record of the pod
	// carries it in its name.
	UID string `json:"uid"`
	// Created is when the record was written.
	Created time.Time `json:"created"`
	// Config is the configuration the pod was made with. The pod is run and
	// torn down with it, whatever the flags of a later command say: its
	// snapshots are where they were made.
	Config config.Config `json:"config"`
	// Pod is the manifest with defaults filled in.
	Pod *corev1.Pod `json:"pod"`
}

// Containers returns the init containers, then the ordinary ones.
func (r *Record) Containers() []*corev1.Container {
	var all []*corev1.Container
	for i := range r.Pod.Spec.InitContainers {
		all = append(all, &r.Pod.Spec.InitContainers[i])
	}
	for i := range r.Pod.Spec.Containers {
		all = append(all, &r.Pod.Spec.Containers[i])
	}
	return all
}

// ContainerID is the name by which the OCI runtime knows a container.
func (r *Record) ContainerID(container string) string { return r.UID + "-" + container }

// SnapshotKey names the writable layer of one run of a container. Each run
// starts from the image anew.
func (r *Record) SnapshotKey(container string, attempt int) string {
	return snapshotKey(r.UID, container, attempt)
}

// CgroupPath is the pod's cgroup below each hierarchy; those of its
// containers are below it.
func (r *Record) CgroupPath() string { return r.Config.CgroupParent() + "/" + r.UID }
