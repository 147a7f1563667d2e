package manifest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The defaults are those of Kubernetes' API server, save imagePullPolicy.

func setPodDefaults(pod *corev1.Pod) {
	if pod.Namespace == "" {
		pod.Namespace = corev1.NamespaceDefault
	}
	spec := &pod.Spec
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	if spec.TerminationGracePeriodSeconds == nil {
		seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
		spec.TerminationGracePeriodSeconds = &seconds
	}
	if spec.Hostname == "" {
		spec.Hostname = defaultHostname(pod.Name)
	}
	if spec.DNSPolicy == "" {
		spec.DNSPolicy = corev1.DNSClusterFirst
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if h := v.HostPath; h != nil && h.Type == nil {
			unset := corev1.HostPathUnset
			h.Type = &unset
		}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			setContainerDefaults(&list[i])
		}
	}
}

// defaultHostname is the pod's name as a host name: at most 63 bytes, as
// kubelet cuts it, and up to the first dot, since a host name is one label.
func defaultHostname(name string) string {
	name, _, _ = strings.Cut(name, ".")
	if len(name) > 63 {
		name = name[:63]
	}
	return strings.TrimRight(name, "-")
}

func setContainerDefaults(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		// Kubernetes pulls ":latest" each time. On one machine images are
		// loaded by hand as often as pulled, and a registry's word for such
		// an image would be a surprise.
		c.ImagePullPolicy = corev1.PullIfNotPresent
	}
	for i := range c.Ports {
		if c.Ports[i].Protocol == "" {
			c.Ports[i].Protocol = corev1.ProtocolTCP
		}
	}
	// A limit without a request is also the request.
	for name, limit := range c.Resources.Limits {
		if _, ok := c.Resources.Requests[name]; !ok {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = limit.DeepCopy()
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		setProbeDefaults(p)
	}
}

func setProbeDefaults(p *corev1.Probe) {
	if p == nil {
		return
	}
	for _, d := range []struct {
		field *int32
		value int32
	}{{&p.TimeoutSeconds, 1}, {&p.PeriodSeconds, 10}, {&p.SuccessThreshold, 1}, {&p.FailureThreshold, 3}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if h := p.HTTPGet; h != nil {
		if h.Path == "" {
			h.Path = "/"
		}
		if h.Scheme == "" {
			h.Scheme = corev1.URISchemeHTTP
		}
	}
}

func setClaimDefaults(claim *corev1.PersistentVolumeClaim) {
	if claim.Namespace == "" {
		claim.Namespace = corev1.NamespaceDefault
	}
	if claim.Spec.VolumeMode == nil {
		mode := corev1.PersistentVolumeFilesystem
		claim.Spec.VolumeMode = &mode
	}
	if len(claim.Spec.AccessModes) == 0 {
		claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
}
