package manifest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func validateProbe(p *problems, at string, probe *corev1.Probe, c *corev1.Container, onlyOneSuccess bool) {
	if probe == nil {
		return
	}
	handlers := 0
	if e := probe.Exec; e != nil {
		handlers++
		if len(e.Command) == 0 {
			p.add(at+".exec.command", "missing")
		}
	}
	if h := probe.HTTPGet; h != nil {
		handlers++
		validateProbePort(p, at+".httpGet.port", h.Port, c)
		p.oneOf(at+".httpGet.scheme", string(h.Scheme), "HTTP", "HTTPS")
		for _, header := range h.HTTPHeaders {
			if header.Name == "" || strings.ContainsAny(header.Name, " :\r\n") || strings.ContainsAny(header.Value, "\r\n") {
				p.add(at+".httpGet.httpHeaders", "%q: not a header name with a value of one line", header.Name)
			}
		}
	}
	if t := probe.TCPSocket; t != nil {
		handlers++
		validateProbePort(p, at+".tcpSocket.port", t.Port, c)
	}
	if handlers != 1 {
		p.add(at, "must have exactly one of exec, httpGet and tcpSocket, has %d", handlers)
	}
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", probe.InitialDelaySeconds}, {"timeoutSeconds", probe.TimeoutSeconds},
		{"periodSeconds", probe.PeriodSeconds}, {"successThreshold", probe.SuccessThreshold},
		{"failureThreshold", probe.FailureThreshold},
	} {
		if n.value < 0 {
			p.add(at+"."+n.name, "%d: must not be negative", n.value)
		}
	}
	if onlyOneSuccess && probe.SuccessThreshold > 1 {
		p.add(at+".successThreshold", "%d: must be 1 here", probe.SuccessThreshold)
	}
}

func validateProbePort(p *problems, at string, port intstr.IntOrString, c *corev1.Container) {
	if _, ok := PortNumber(port, c); !ok {
		p.add(at, "%q: must be from 1 to 65535 or the name of one of the container's ports", port.String())
	}
}

// PortNumber resolves a probe's port, a number or the name of one of the
// container's ports.
func PortNumber(port intstr.IntOrString, c *corev1.Container) (int, bool) {
	if port.Type == intstr.Int {
		return int(port.IntVal), port.IntVal >= 1 && port.IntVal <= 65535
	}
	for _, cp := range c.Ports {
		if cp.Name != "" && cp.Name == port.StrVal {
			return int(cp.ContainerPort), true
		}
	}
	return 0, false
}
