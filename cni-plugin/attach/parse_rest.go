package attach

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/varve-project/varve/cni-plugin/rules"
)

func parsePorts(c *Config, w *wire) error {
	if b := w.Backend; b != "" && b != "nftables" {
		return fail(types.ErrUnsupportedField, "backend %q: not supported: set it to \"nftables\" or remove it", printable(b))
	}
	if b := w.MarkMasqBit; b != nil && *b != rules.MarkBit {
		return fail(types.ErrUnsupportedField, "markMasqBit %d: not supported: the mark's bit is %d; remove the key", *b, rules.MarkBit)
	}
	seen := map[rules.Port]int{}
	for i, p := range w.RuntimeConfig.PortMappings {
		port, err := parsePort(p)
		if err != nil {
			return fmt.Errorf("runtimeConfig.portMappings[%d]: %w", i, err)
		}
		same := port
		same.ContainerPort = 0
		if j, ok := seen[same]; ok {
			return fmt.Errorf("runtimeConfig.portMappings[%d]: host port %d/%s is already that of portMappings[%d]", i, port.HostPort, port.Protocol, j)
		}
		seen[same] = i
		c.Ports = append(c.Ports, port)
	}
	return nil
}

func parsePort(p wirePort) (rules.Port, error) {
	out := rules.Port{Protocol: strings.ToLower(p.Protocol)}
	if out.Protocol == "" {
		out.Protocol = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, out.Protocol) {
		return out, fmt.Errorf("protocol %q: want tcp, udp or sctp", printable(p.Protocol))
	}
	for _, f := range []struct {
		name  string
		value int
		into  *uint16
	}{{"hostPort", p.HostPort, &out.HostPort}, {"containerPort", p.ContainerPort, &out.ContainerPort}} {
		if f.value < 1 || f.value > math.MaxUint16 {
			return out, fmt.Errorf("%s %d: want 1 to 65535", f.name, f.value)
		}
		*f.into = uint16(f.value)
	}
	if p.HostIP != "" {
		a, err := netip.ParseAddr(p.HostIP)
		if err != nil || a.Zone() != "" {
			return out, fmt.Errorf("hostIP %q: want an IP address", printable(p.HostIP))
		}
		out.HostIP = a.Unmap()
	}
	return out, nil
}

// parseLimits: the reference takes the capability only where the
// configuration itself says nothing.
func parseLimits(c *Config, w *wire) error {
	c.Limits = w.Limits
	prefix := ""
	if c.Limits == (Limits{}) && w.RuntimeConfig.Bandwidth != nil {
		c.Limits, prefix = *w.RuntimeConfig.Bandwidth, "runtimeConfig.bandwidth."
	}
	for _, d := range []struct {
		name        string
		rate, burst uint64
	}{{"ingress", c.Limits.IngressRate, c.Limits.IngressBurst}, {"egress", c.Limits.EgressRate, c.Limits.EgressBurst}} {
		switch {
		case d.rate == 0 && d.burst == 0:
		case d.rate == 0:
			return fmt.Errorf("%s%sBurst %d without %sRate: give both", prefix, d.name, d.burst, d.name)
		case d.burst == 0:
			return fmt.Errorf("%s%sRate %d without %sBurst: give both", prefix, d.name, d.rate, d.name)
		case d.rate < 8 || d.burst < 8:
			return fmt.Errorf("%s%sRate %d, %sBurst %d: a rate or burst below 8 bits is none at all", prefix, d.name, d.rate, d.name, d.burst)
		case d.burst/8 >= math.MaxUint32:
			return fmt.Errorf("%s%sBurst %d: the kernel takes less than 4 GiB (34359738360 bits)", prefix, d.name, d.burst)
		}
	}
	return nil
}

func parsePrev(c *Config, w *wire) error {
	if w.PrevResult == nil {
		return nil
	}
	conf := types.PluginConf{CNIVersion: w.CNIVersion, RawPrevResult: w.PrevResult}
	if err := version.ParsePrevResult(&conf); err != nil {
		return fail(types.ErrDecodingFailure, "prevResult: %v", err)
	}
	prev, err := current.NewResultFromResult(conf.PrevResult)
	if err != nil {
		return fail(types.ErrDecodingFailure, "prevResult: %v", err)
	}
	c.Prev = prev
	return nil
}

// parseValid reads GC's list. libcni sends it under two names; should they
// differ, freeing by one of them would be a guess.
func parseValid(c *Config, w *wire) error {
	c.Valid = w.Valid
	if w.Valid == nil {
		c.Valid = w.Valid2
	} else if w.Valid2 != nil && !slices.Equal(*w.Valid, *w.Valid2) {
		return fail(types.ErrInvalidNetworkConfig, "cni.dev/valid-attachments and cni.dev/attachments differ: send one list")
	}
	return nil
}
