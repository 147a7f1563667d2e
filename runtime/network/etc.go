package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	corev1 "k8s.io/api/core/v1"
)

// Hosts is the pod's /etc/hosts: the usual loopback names, the pod's own
// addresses, and its hostAliases.
func Hosts(spec *corev1.PodSpec, ips []string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n" +
		"fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	for _, ip := range ips {
		fmt.Fprintf(&b, "%s\t%s\n", ip, spec.Hostname)
	}
	for _, a := range spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, " "))
	}
	return b.String()
}

// hostResolvConfs are tried in turn. systemd-resolved's /etc/resolv.conf
// names a stub on the host's loopback, which a pod cannot reach; its real
// servers are in the second file.
var hostResolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// ResolvConf is the pod's /etc/resolv.conf, by its dnsPolicy, what the CNI
// plug-in said, and the host's own.
func ResolvConf(spec *corev1.PodSpec, dns types.DNS) (string, error) {
	r := resolv{}
	switch {
	case spec.DNSPolicy == corev1.DNSNone:
	case spec.DNSPolicy != corev1.DNSDefault && len(dns.Nameservers) > 0:
		r = resolv{dns.Nameservers, dns.Search, dns.Options}
		if len(r.searches) == 0 && dns.Domain != "" {
			r.searches = []string{dns.Domain}
		}
	default:
		var err error
		if r, err = hostResolv(); err != nil {
			return "", err
		}
	}
	if c := spec.DNSConfig; c != nil {
		r.servers = appendNew(r.servers, c.Nameservers...)
		r.searches = appendNew(r.searches, c.Searches...)
		for _, o := range c.Options {
			option := o.Name
			if o.Value != nil {
				option += ":" + *o.Value
			}
			r.options = appendNew(r.options, option)
		}
	}
	return r.String(), nil
}

type resolv struct{ servers, searches, options []string }

func hostResolv() (resolv, error) {
	var last resolv
	for _, path := range hostResolvConfs {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return resolv{}, fmt.Errorf("the host's name servers: %w", err)
		}
		r, loopback := parseResolv(string(data))
		if !loopback {
			return r, nil
		}
		last = r
	}
	return last, nil
}

// parseResolv reads a resolv.conf without the servers on the loopback, and
// tells whether there were only such.
func parseResolv(text string) (r resolv, onlyLoopback bool) {
	loopback := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if strings.HasPrefix(f[1], "127.") || f[1] == "::1" {
				loopback = true
				continue
			}
			r.servers = append(r.servers, f[1])
		case "search", "domain":
			r.searches = f[1:]
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r, loopback && len(r.servers) == 0
}

func (r resolv) String() string {
	var b strings.Builder
	for _, s := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.searches, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.String()
}

func appendNew(list []string, more ...string) []string {
	seen := map[string]bool{}
	for _, s := range list {
		seen[s] = true
	}
	for _, s := range more {
		if !seen[s] {
			seen[s] = true
			list = append(list, s)
		}
	}
	return list
}
