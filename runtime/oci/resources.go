package oci

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	ctrdoci "github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// The numbers are kubelet's (pkg/kubelet/cm/helpers_linux.go).
const (
	cpuPeriod   = 100_000 // microseconds
	minCPUQuota = 1_000   // microseconds; the kernel refuses less
	minShares   = 2
	maxShares   = 262_144
)

// resources sets the cgroup limits. The runtime translates them for cgroup v2
// itself, as the OCI spec says.
func (c Container) resources(_ context.Context, _ ctrdoci.Client, _ *containers.Container, s *specs.Spec) error {
	r := s.Linux.Resources
	res := c.Container.Resources
	cpu := &specs.LinuxCPU{}
	if request, ok := res.Requests[corev1.ResourceCPU]; ok {
		shares := uint64(min(max(request.MilliValue()*1024/1000, minShares), maxShares))
		cpu.Shares = &shares
	}
	if limit, ok := res.Limits[corev1.ResourceCPU]; ok && limit.MilliValue() > 0 {
		period, quota := uint64(cpuPeriod), max(limit.MilliValue()*cpuPeriod/1000, minCPUQuota)
		cpu.Period, cpu.Quota = &period, &quota
	}
	if cpu.Shares != nil || cpu.Quota != nil {
		r.CPU = cpu
	}
	if limit, ok := res.Limits[corev1.ResourceMemory]; ok && limit.Value() > 0 {
		bytes := limit.Value()
		r.Memory = &specs.LinuxMemory{Limit: &bytes}
		if hostSwaps() {
			// Memory and swap together: no swap, as kubelet's default.
			swap := bytes
			r.Memory.Swap = &swap
		}
		if unified() {
			// One process of a container out of memory ends them all,
			// as kubelet has it on cgroup v2.
			r.Unified = map[string]string{"memory.oom.group": "1"}
		}
	}
	score, err := oomScore(c.Pod, c.Container)
	if err != nil {
		return err
	}
	s.Process.OOMScoreAdj = &score
	return nil
}

// oomScore is kubelet's score by quality of service, but never below this
// process's own: lowering it takes CAP_SYS_RESOURCE.
func oomScore(pod *corev1.Pod, c *corev1.Container) (int, error) {
	own, err := ownOOMScore()
	if err != nil {
		return 0, err
	}
	score := 1000 // best effort
	switch {
	case guaranteed(pod):
		score = own
	case hasResources(pod):
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return 0, fmt.Errorf("read the size of memory: %w", err)
		}
		request := c.Resources.Requests[corev1.ResourceMemory]
		total := int64(info.Totalram * uint64(info.Unit))
		score = int(min(max(1000-1000*request.Value()/total, 3), 999))
	}
	return max(score, own), nil
}

func ownOOMScore() (int, error) {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0, fmt.Errorf("read own oom_score_adj: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// guaranteed: every container has limits for cpu and memory, equal to its
// requests.
func guaranteed(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			r := list[i].Resources
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				limit, ok := r.Limits[name]
				request := r.Requests[name]
				if !ok || limit.Cmp(request) != 0 {
					return false
				}
			}
		}
	}
	return true
}

func hasResources(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if len(list[i].Resources.Limits)+len(list[i].Resources.Requests) > 0 {
				return true
			}
		}
	}
	return false
}

// unified tells whether the machine has cgroup v2 only.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// hostSwaps tells whether the host has swap at all. Without, a swap limit
// would only fail on kernels that do not count swap.
func hostSwaps() bool {
	data, err := os.ReadFile("/proc/swaps")
	return err == nil && strings.Count(string(data), "\n") > 1
}
