package attach

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/cni-plugin/ipam"
)

func parseIPAM(c *Config, w *wire) error {
	if t := w.IPAM.Type; t != "" && t != "host-local" {
		return fail(types.ErrUnsupportedField, "ipam.type %q: not supported: varve-cni has its own IPAM, which reads the keys of host-local; set ipam.type to \"host-local\" or remove it", printable(t))
	}
	if w.IPAM.DataDir != "" {
		if !filepath.IsAbs(w.IPAM.DataDir) {
			return fail(types.ErrInvalidNetworkConfig, "ipam.dataDir %q: want an absolute path", w.IPAM.DataDir)
		}
		c.DataDir = filepath.Clean(w.IPAM.DataDir)
	}
	c.HostLocal = hostLocalDir(w.IPAM.Type, w.IPAM.DataDir)
	c.ResolvConf = w.IPAM.ResolvConf
	if s := w.IPAM.RestSeconds; s != nil {
		if *s < 0 || *s > 86400 {
			return fail(types.ErrInvalidNetworkConfig, "ipam.restSeconds %d: want 0 to 86400", *s)
		}
		c.Rest = time.Duration(*s) * time.Second
	}
	sets := w.RuntimeConfig.IPRanges
	if w.IPAM.wireRange != (wireRange{}) {
		sets = append(sets, []wireRange{w.IPAM.wireRange})
	}
	for i, set := range append(sets, w.IPAM.Ranges...) {
		var rs ipam.RangeSet
		for j, r := range set {
			parsed, err := parseRange(r)
			if err != nil {
				return fmt.Errorf("ipam: ranges[%d][%d]: %w", i, j, err)
			}
			rs = append(rs, parsed)
		}
		c.Ranges = append(c.Ranges, rs)
	}
	if err := ipam.CheckSets(c.Ranges); err != nil {
		return fmt.Errorf("ipam: %w", err)
	}
	if w.IPAM.Type != "" && len(c.Ranges) == 0 {
		return fail(types.ErrInvalidNetworkConfig, "ipam.ranges: missing: give ipam.subnet or ipam.ranges, or remove ipam.type for an interface without addresses")
	}
	return parseRoutes(c, w)
}

func parseRange(r wireRange) (ipam.Range, error) {
	subnet, err := netip.ParsePrefix(r.Subnet)
	if err != nil {
		return ipam.Range{}, fmt.Errorf("subnet %q: want a CIDR like 10.89.0.0/24", r.Subnet)
	}
	if subnet.Addr().Is4In6() {
		return ipam.Range{}, fmt.Errorf("subnet %s: write an IPv4 subnet as one", subnet)
	}
	var addrs [3]netip.Addr
	for i, f := range []struct{ name, text string }{{"rangeStart", r.RangeStart}, {"rangeEnd", r.RangeEnd}, {"gateway", r.Gateway}} {
		if f.text == "" {
			continue
		}
		if addrs[i], err = netip.ParseAddr(f.text); err != nil {
			return ipam.Range{}, fmt.Errorf("%s %q: want an IP address", f.name, f.text)
		}
		addrs[i] = addrs[i].Unmap()
	}
	return ipam.NewRange(subnet, addrs[0], addrs[1], addrs[2])
}

func parseRoutes(c *Config, w *wire) error {
	for i, r := range w.IPAM.Routes {
		if r.Dst.IP == nil {
			return fail(types.ErrInvalidNetworkConfig, "ipam.routes[%d].dst: missing", i)
		}
		if masked := r.Dst.IP.Mask(r.Dst.Mask); !masked.Equal(r.Dst.IP) {
			return fail(types.ErrInvalidNetworkConfig, "ipam.routes[%d].dst %s has host bits set", i, &r.Dst)
		}
		if r.GW != nil && (r.GW.To4() == nil) != (r.Dst.IP.To4() == nil) {
			return fail(types.ErrInvalidNetworkConfig, "ipam.routes[%d]: gw %s and dst %s are of different families", i, r.GW, &r.Dst)
		}
		c.Routes = append(c.Routes, r)
	}
	return nil
}

// parseWanted gathers the addresses and the MAC that were asked for. As in the
// reference plug-ins, the runtime's word wins over the configuration's args,
// and those over CNI_ARGS; addresses add up.
func parseWanted(c *Config, w *wire, cniArgs string) error {
	env, err := parseEnvArgs(cniArgs)
	if err != nil {
		return err
	}
	for _, m := range []struct{ field, text string }{
		{"CNI_ARGS MAC", env.mac}, {"args.cni.mac", w.Args.CNI.MAC}, {"runtimeConfig.mac", w.RuntimeConfig.MAC},
	} {
		if m.text == "" {
			continue
		}
		if c.MAC, err = parseMAC(m.field, m.text); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		field string
		texts []string
	}{{"CNI_ARGS IP", env.ips}, {"args.cni.ips", w.Args.CNI.IPs}, {"runtimeConfig.ips", w.RuntimeConfig.IPs}} {
		for i, text := range list.texts {
			a, err := parseAddrOrPrefix(text)
			if err != nil {
				return fail(types.ErrInvalidNetworkConfig, "%s[%d] %q: want an IP address", list.field, i, printable(text))
			}
			c.Wanted = append(c.Wanted, a)
		}
	}
	return nil
}

func parseAddrOrPrefix(text string) (netip.Addr, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Addr().Unmap(), err
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap(), err
}

type envArgs struct {
	mac string
	ips []string
}

// parseEnvArgs reads CNI_ARGS ("K=V;K=V"). Kubernetes' and podman's runtimes
// send IgnoreUnknown=1 with their own; without it an unknown key is an error.
func parseEnvArgs(text string) (envArgs, error) {
	var out envArgs
	var unknown []string
	ignore := false
	for pair := range strings.SplitSeq(text, ";") {
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return out, fail(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: %q is not KEY=VALUE", printable(pair))
		}
		switch {
		case k == "MAC":
			out.mac = v
		case k == "IP" && v != "":
			out.ips = append(out.ips, v)
		case k == "IP":
		case strings.EqualFold(k, "IgnoreUnknown"):
			if v != "" && !strings.Contains(" 1 true 0 false ", " "+strings.ToLower(v)+" ") {
				return out, fail(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: IgnoreUnknown=%q: want 1 or 0", printable(v))
			}
			ignore = v == "1" || strings.EqualFold(v, "true")
		default:
			unknown = append(unknown, k)
		}
	}
	if len(unknown) > 0 && !ignore {
		return out, fail(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: unknown key %q, and IgnoreUnknown=1 is not there", printable(unknown[0]))
	}
	return out, nil
}
