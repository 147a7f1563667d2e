package manifest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// problems gathers what is wrong, each by its path.
type problems []error

func (p *problems) add(path, format string, a ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, a...)))
}

// check adds the messages of one of Kubernetes' own validators.
func (p *problems) check(path, value string, msgs []string) {
	for _, m := range msgs {
		p.add(path, "%q: %s", value, m)
	}
}

func (p *problems) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(path, "%q: must be one of %s", value, strings.Join(allowed, ", "))
	}
}

func validateMeta(p *problems, m *metav1.ObjectMeta) {
	if m.Name == "" {
		p.add("metadata.name", "missing")
	} else {
		p.check("metadata.name", m.Name, validation.IsDNS1123Subdomain(m.Name))
	}
	if m.Namespace != "" {
		p.check("metadata.namespace", m.Namespace, validation.IsDNS1123Label(m.Namespace))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
		v := m.Labels[k]
		p.check("metadata.labels", k, validation.IsQualifiedName(k))
		p.check("metadata.labels["+k+"]", v, validation.IsValidLabelValue(v))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Annotations)) {
		p.check("metadata.annotations", k, validation.IsQualifiedName(strings.ToLower(k)))
	}
}

func validatePod(pod *corev1.Pod) []error {
	var p problems
	validateMeta(&p, &pod.ObjectMeta)
	spec := &pod.Spec
	p.oneOf("spec.restartPolicy", string(spec.RestartPolicy), "Always", "OnFailure", "Never")
	if *spec.TerminationGracePeriodSeconds < 0 {
		p.add("spec.terminationGracePeriodSeconds", "%d: must not be negative", *spec.TerminationGracePeriodSeconds)
	}
	p.check("spec.hostname", spec.Hostname, validation.IsDNS1123Label(spec.Hostname))
	validateDNS(&p, spec)
	for i, a := range spec.HostAliases {
		path := fmt.Sprintf("spec.hostAliases[%d]", i)
		if _, err := netip.ParseAddr(a.IP); err != nil {
			p.add(path+".ip", "%q: not an IP address", a.IP)
		}
		for j, name := range a.Hostnames {
			p.check(fmt.Sprintf("%s.hostnames[%d]", path, j), name, validation.IsDNS1123Subdomain(name))
		}
	}
	if s := spec.SecurityContext; s != nil {
		validateID(&p, "spec.securityContext.runAsUser", s.RunAsUser)
		validateID(&p, "spec.securityContext.runAsGroup", s.RunAsGroup)
		for i := range s.SupplementalGroups {
			validateID(&p, fmt.Sprintf("spec.securityContext.supplementalGroups[%d]", i), &s.SupplementalGroups[i])
		}
	}
	volumes := validateVolumes(&p, spec.Volumes)
	if len(spec.Containers) == 0 {
		p.add("spec.containers", "missing: a pod has at least one")
	}
	names, ports := map[string]string{}, map[string]string{}
	for _, list := range []struct {
		path       string
		containers []corev1.Container
	}{{"spec.initContainers", spec.InitContainers}, {"spec.containers", spec.Containers}} {
		for i := range list.containers {
			path := fmt.Sprintf("%s[%d]", list.path, i)
			c := &list.containers[i]
			if first, ok := names[c.Name]; ok {
				p.add(path+".name", "%q: is also the name of %s", c.Name, first)
			}
			names[c.Name] = path
			validateContainer(&p, path, c, volumes)
			// Init containers run one at a time, so theirs never collide.
			if list.path == "spec.containers" {
				validateHostPorts(&p, path, c, ports)
			}
		}
	}
	return p
}

func validateDNS(p *problems, spec *corev1.PodSpec) {
	p.oneOf("spec.dnsPolicy", string(spec.DNSPolicy), "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
	c := spec.DNSConfig
	if spec.DNSPolicy == corev1.DNSNone && (c == nil || len(c.Nameservers) == 0) {
		p.add("spec.dnsConfig.nameservers", "missing: dnsPolicy None needs at least one")
	}
	if c == nil {
		return
	}
	for i, s := range c.Nameservers {
		if _, err := netip.ParseAddr(s); err != nil {
			p.add(fmt.Sprintf("spec.dnsConfig.nameservers[%d]", i), "%q: not an IP address", s)
		}
	}
	for i, s := range c.Searches {
		if s != "." {
			p.check(fmt.Sprintf("spec.dnsConfig.searches[%d]", i), s, validation.IsDNS1123Subdomain(strings.TrimSuffix(s, ".")))
		}
	}
	for i, o := range c.Options {
		if o.Name == "" || strings.ContainsAny(o.Name, " \t\n") || o.Value != nil && strings.ContainsAny(*o.Value, " \t\n") {
			p.add(fmt.Sprintf("spec.dnsConfig.options[%d]", i), "name must be one word, and so must value")
		}
	}
}

// maxID is runc's limit on user and group ids.
const maxID = 1<<31 - 1

func validateID(p *problems, path string, id *int64) {
	if id != nil && (*id < 0 || *id > maxID) {
		p.add(path, "%d: must be from 0 to %d", *id, maxID)
	}
}

// validateHostPorts refuses two containers that want one host port; ports
// maps each to who has it.
func validateHostPorts(p *problems, path string, c *corev1.Container, ports map[string]string) {
	for i, port := range c.Ports {
		if port.HostPort == 0 {
			continue
		}
		at := fmt.Sprintf("%s.ports[%d].hostPort", path, i)
		key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
		if first, ok := ports[key]; ok {
			p.add(at, "%d: is taken by %s", port.HostPort, first)
		}
		ports[key] = at
	}
}
