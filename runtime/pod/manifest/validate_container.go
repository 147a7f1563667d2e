package manifest

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func validateContainer(p *problems, at string, c *corev1.Container, volumes map[string]corev1.VolumeSource) {
	if c.Name == "" {
		p.add(at+".name", "missing")
	} else {
		p.check(at+".name", c.Name, validation.IsDNS1123Label(c.Name))
	}
	if strings.TrimSpace(c.Image) == "" {
		p.add(at+".image", "missing")
	} else if strings.TrimSpace(c.Image) != c.Image {
		p.add(at+".image", "%q: has spaces around it", c.Image)
	}
	p.oneOf(at+".imagePullPolicy", string(c.ImagePullPolicy), "Always", "IfNotPresent", "Never")
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		p.add(at+".workingDir", "%q: must be an absolute path", c.WorkingDir)
	}
	for i, e := range c.Env {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") {
			p.add(fmt.Sprintf("%s.env[%d].name", at, i), "%q: must be a word without \"=\"", e.Name)
		}
		if strings.Contains(e.Value, "\x00") {
			p.add(fmt.Sprintf("%s.env[%d].value", at, i), "has a NUL byte")
		}
	}
	validatePorts(p, at, c)
	validateResources(p, at+".resources", &c.Resources)
	validateMounts(p, at, c, volumes)
	validateSecurity(p, at+".securityContext", c.SecurityContext)
	for _, probe := range []struct {
		name  string
		probe *corev1.Probe
	}{{"livenessProbe", c.LivenessProbe}, {"readinessProbe", c.ReadinessProbe}, {"startupProbe", c.StartupProbe}} {
		validateProbe(p, at+"."+probe.name, probe.probe, c, probe.name != "readinessProbe")
	}
}

func validatePorts(p *problems, at string, c *corev1.Container) {
	names := map[string]bool{}
	for i, port := range c.Ports {
		at := fmt.Sprintf("%s.ports[%d]", at, i)
		if port.ContainerPort < 1 || port.ContainerPort > 65535 {
			p.add(at+".containerPort", "%d: must be from 1 to 65535", port.ContainerPort)
		}
		if port.HostPort < 0 || port.HostPort > 65535 {
			p.add(at+".hostPort", "%d: must be from 1 to 65535", port.HostPort)
		}
		p.oneOf(at+".protocol", string(port.Protocol), "TCP", "UDP", "SCTP")
		if port.HostIP != "" {
			if _, err := netip.ParseAddr(port.HostIP); err != nil {
				p.add(at+".hostIP", "%q: not an IP address", port.HostIP)
			}
			if port.HostPort == 0 {
				p.add(at+".hostIP", "%q: means nothing without hostPort", port.HostIP)
			}
		}
		if port.Name != "" {
			p.check(at+".name", port.Name, validation.IsValidPortName(port.Name))
			if names[port.Name] {
				p.add(at+".name", "%q: is used twice", port.Name)
			}
			names[port.Name] = true
		}
	}
}

func validateResources(p *problems, at string, r *corev1.ResourceRequirements) {
	for _, list := range []struct {
		path string
		list corev1.ResourceList
	}{{at + ".limits", r.Limits}, {at + ".requests", r.Requests}} {
		for _, name := range slices.Sorted(maps.Keys(list.list)) {
			q := list.list[name]
			at := list.path + "[" + string(name) + "]"
			if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
				p.add(at, "not supported, only cpu and memory")
			}
			if q.Sign() < 0 {
				p.add(at, "%s: must not be negative", q.String())
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		limit := r.Limits[name]
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) > 0 {
			p.add(at+".requests["+string(name)+"]", "%s: is more than the limit, %s", request.String(), limit.String())
		}
	}
}

func validateMounts(p *problems, at string, c *corev1.Container, volumes map[string]corev1.VolumeSource) {
	taken := map[string]bool{}
	for i, m := range c.VolumeMounts {
		at := fmt.Sprintf("%s.volumeMounts[%d]", at, i)
		if _, ok := volumes[m.Name]; !ok {
			p.add(at+".name", "%q: no such volume in spec.volumes", m.Name)
		}
		if !path.IsAbs(m.MountPath) || path.Clean(m.MountPath) == "/" || strings.ContainsAny(m.MountPath, ":\x00") {
			p.add(at+".mountPath", "%q: must be an absolute path below / without \":\"", m.MountPath)
		} else if clean := path.Clean(m.MountPath); taken[clean] {
			p.add(at+".mountPath", "%q: something else is mounted there", m.MountPath)
		} else {
			taken[clean] = true
		}
	}
	for i, d := range c.VolumeDevices {
		at := fmt.Sprintf("%s.volumeDevices[%d]", at, i)
		if src, ok := volumes[d.Name]; !ok {
			p.add(at+".name", "%q: no such volume in spec.volumes", d.Name)
		} else if src.PersistentVolumeClaim == nil {
			p.add(at+".name", "%q: only a persistentVolumeClaim can be a device", d.Name)
		}
		for _, m := range c.VolumeMounts {
			if m.Name == d.Name {
				p.add(at+".name", "%q: is also in volumeMounts; a volume is a file system or a device", d.Name)
			}
		}
		if !path.IsAbs(d.DevicePath) || path.Clean(d.DevicePath) == "/" || strings.Contains(d.DevicePath, "..") {
			p.add(at+".devicePath", "%q: must be an absolute path below / without \"..\"", d.DevicePath)
		} else if clean := path.Clean(d.DevicePath); taken[clean] {
			p.add(at+".devicePath", "%q: something else is mounted there", d.DevicePath)
		} else {
			taken[clean] = true
		}
	}
}

func validateSecurity(p *problems, at string, s *corev1.SecurityContext) {
	if s == nil {
		return
	}
	validateID(p, at+".runAsUser", s.RunAsUser)
	validateID(p, at+".runAsGroup", s.RunAsGroup)
	if s.Capabilities != nil {
		for i, c := range s.Capabilities.Add {
			validateCapability(p, fmt.Sprintf("%s.capabilities.add[%d]", at, i), c)
		}
		for i, c := range s.Capabilities.Drop {
			validateCapability(p, fmt.Sprintf("%s.capabilities.drop[%d]", at, i), c)
		}
	}
	if s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation && s.Privileged != nil && *s.Privileged {
		p.add(at+".allowPrivilegeEscalation", "false: contradicts privileged: true")
	}
}

func validateCapability(p *problems, at string, c corev1.Capability) {
	if !knownCapability(string(c)) {
		p.add(at, "%q: no such capability; names are like NET_ADMIN, or ALL", c)
	}
}
