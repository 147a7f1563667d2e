package attach

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/cni-plugin/ipam"
)

// DefaultRest is how long a freed address is withheld by default: as long as
// the kernel's UDP conntrack entries and reachable ARP entries live.
const DefaultRest = 30 * time.Second

// wire is the configuration as it is written. checkKeys has refused unknown
// keys before it is filled.
type wire struct {
	CNIVersion string         `json:"cniVersion"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	PrevResult map[string]any `json:"prevResult"`
	DNS        types.DNS      `json:"dns"`
	Args       struct {
		CNI struct {
			IPs []string `json:"ips"`
			MAC string   `json:"mac"`
		} `json:"cni"`
	} `json:"args"`
	RuntimeConfig wireRuntime `json:"runtimeConfig"`

	Valid  *[]types.GCAttachment `json:"cni.dev/valid-attachments"`
	Valid2 *[]types.GCAttachment `json:"cni.dev/attachments"`

	Bridge           *string  `json:"bridge"`
	IsGateway        bool     `json:"isGateway"`
	IsDefaultGateway bool     `json:"isDefaultGateway"`
	ForceAddress     bool     `json:"forceAddress"`
	IPMasq           bool     `json:"ipMasq"`
	IPMasqBackend    string   `json:"ipMasqBackend"`
	MTU              int      `json:"mtu"`
	HairpinMode      bool     `json:"hairpinMode"`
	PromiscMode      bool     `json:"promiscMode"`
	PortIsolation    bool     `json:"portIsolation"`
	EnableDAD        bool     `json:"enabledad"`
	IPAM             wireIPAM `json:"ipam"`

	SNAT           *bool    `json:"snat"`
	MasqAll        bool     `json:"masqAll"`
	MarkMasqBit    *int     `json:"markMasqBit"`
	Backend        string   `json:"backend"`
	MasqExceptions []string `json:"masqExceptions"`
	ForwardRule    string   `json:"forwardRule"`
	Limits
}

type wireRuntime struct {
	PortMappings []wirePort    `json:"portMappings"`
	Bandwidth    *Limits       `json:"bandwidth"`
	IPs          []string      `json:"ips"`
	MAC          string        `json:"mac"`
	IPRanges     [][]wireRange `json:"ipRanges"`
	DNS          struct {
		Servers  []string `json:"servers"`
		Searches []string `json:"searches"`
		types.DNS
	} `json:"dns"`
}

type wirePort struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

type wireIPAM struct {
	Type string `json:"type"`
	wireRange
	Ranges      [][]wireRange `json:"ranges"`
	Routes      []types.Route `json:"routes"`
	DataDir     string        `json:"dataDir"`
	ResolvConf  string        `json:"resolvConf"`
	RestSeconds *int          `json:"restSeconds"`
}

type wireRange struct {
	Subnet     string `json:"subnet"`
	RangeStart string `json:"rangeStart"`
	RangeEnd   string `json:"rangeEnd"`
	Gateway    string `json:"gateway"`
}

// Parse reads a network configuration as it comes on standard input, and
// CNI_ARGS. It reads nothing else and changes nothing. The error is a
// *types.Error: 6 for what is no JSON or of the wrong type, 2 for a key that
// is refused, 4 for CNI_ARGS, 7 for everything else, with the field's path.
func Parse(stdin []byte, cniArgs string) (*Config, error) {
	if !json.Valid(stdin) {
		return nil, fail(types.ErrDecodingFailure, "the network configuration on standard input is not JSON")
	}
	if err := checkKeys(stdin); err != nil {
		return nil, err
	}
	var w wire
	if err := json.Unmarshal(stdin, &w); err != nil {
		return nil, decodeError(err)
	}
	c := &Config{
		CNIVersion: w.CNIVersion, Network: w.Name, Bridge: "cni0",
		IsGateway: w.IsGateway || w.IsDefaultGateway, IsDefaultGateway: w.IsDefaultGateway,
		ForceAddress: w.ForceAddress, MTU: w.MTU, Hairpin: w.HairpinMode, Promisc: w.PromiscMode,
		PortIsolation: w.PortIsolation, DAD: w.EnableDAD, IPMasq: w.IPMasq,
		SNAT: w.SNAT == nil || *w.SNAT, MasqAll: w.MasqAll,
		DataDir: ipam.DefaultDataDir, Rest: DefaultRest, DNS: w.DNS,
	}
	for _, step := range []func(*Config, *wire) error{parseLinks, parseIPAM, parseDNS, parsePorts, parseLimits, parsePrev, parseValid} {
		if err := step(c, &w); err != nil {
			return nil, coded(types.ErrInvalidNetworkConfig, err)
		}
	}
	if err := parseWanted(c, &w, cniArgs); err != nil {
		return nil, err
	}
	return c, nil
}

// ParseStore reads only what a DEL needs: which network, and where its leases
// are. Whatever else has become wrong with the configuration since the ADD must
// not keep a container from going.
func ParseStore(stdin []byte) (*Config, error) {
	var w struct {
		Name string `json:"name"`
		IPAM struct {
			Type    string `json:"type"`
			DataDir string `json:"dataDir"`
		} `json:"ipam"`
	}
	if err := json.Unmarshal(stdin, &w); err != nil {
		return nil, decodeError(err)
	}
	if w.Name == "" {
		return nil, fail(types.ErrInvalidNetworkConfig, "name: missing")
	}
	c := &Config{Network: w.Name, DataDir: ipam.DefaultDataDir}
	if w.IPAM.DataDir != "" {
		if !filepath.IsAbs(w.IPAM.DataDir) {
			return nil, fail(types.ErrInvalidNetworkConfig, "ipam.dataDir %q: want an absolute path", w.IPAM.DataDir)
		}
		c.DataDir = filepath.Clean(w.IPAM.DataDir)
	}
	c.HostLocal = hostLocalDir(w.IPAM.Type, w.IPAM.DataDir)
	return c, nil
}

// hostLocalDir is where host-local would keep its reservations, "" where the
// configuration does not name it.
func hostLocalDir(ipamType, dataDir string) string {
	switch {
	case ipamType != "host-local":
		return ""
	case dataDir != "":
		return filepath.Clean(dataDir)
	}
	return ipam.HostLocalDir
}

func decodeError(err error) error {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		return fail(types.ErrDecodingFailure, "%s: want %s, not a JSON %s", typed.Field, typed.Type, typed.Value)
	}
	return fail(types.ErrDecodingFailure, "network configuration: %v", err)
}

func parseLinks(c *Config, w *wire) error {
	if w.Name == "" {
		return fail(types.ErrInvalidNetworkConfig, "name: missing")
	}
	if w.Bridge != nil {
		c.Bridge = *w.Bridge
	}
	if err := checkLinkName(c.Bridge); err != nil {
		return fail(types.ErrInvalidNetworkConfig, "bridge: %v", err)
	}
	if w.HairpinMode && w.PromiscMode {
		return fail(types.ErrInvalidNetworkConfig, "hairpinMode and promiscMode are both true: choose one, they loop frames together")
	}
	if w.MTU != 0 && (w.MTU < 68 || w.MTU > 65535) {
		return fail(types.ErrInvalidNetworkConfig, "mtu %d: want 0, or 68 to 65535", w.MTU)
	}
	if b := w.IPMasqBackend; b != "" && b != "nftables" {
		return fail(types.ErrUnsupportedField, "ipMasqBackend %q: not supported: set it to \"nftables\" or remove it", b)
	}
	switch w.ForwardRule {
	case "", "auto":
		c.ForwardRule = true
	case "none":
	default:
		return fail(types.ErrInvalidNetworkConfig, "forwardRule %q: want \"auto\" or \"none\"", printable(w.ForwardRule))
	}
	for i, text := range w.MasqExceptions {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fail(types.ErrInvalidNetworkConfig, "masqExceptions[%d] %q: want a CIDR like 10.0.0.0/8", i, text)
		}
		c.MasqExceptions = append(c.MasqExceptions, p.Masked())
	}
	return nil
}

// checkLinkName is the kernel's dev_valid_name, plus what would break a path
// under /proc/sys.
func checkLinkName(name string) error {
	if name == "" || len(name) > 15 || name == "." || name == ".." {
		return fail(types.ErrInvalidNetworkConfig, "%q: a link's name has 1 to 15 bytes", printable(name))
	}
	for _, r := range name {
		if r == '/' || r == ':' || r <= ' ' || r == 0x7f || r == 0xa0 {
			return fail(types.ErrInvalidNetworkConfig, "%q: a link's name has no slash, colon or space", printable(name))
		}
	}
	return nil
}

func parseDNS(c *Config, w *wire) error {
	d := w.RuntimeConfig.DNS
	if len(d.Servers) > 0 {
		d.Nameservers = d.Servers
	}
	if len(d.Searches) > 0 {
		d.Search = d.Searches
	}
	if !d.DNS.IsEmpty() {
		c.DNS = d.DNS
	}
	for i, text := range c.DNS.Nameservers {
		if _, err := netip.ParseAddr(text); err != nil {
			return fail(types.ErrInvalidNetworkConfig, "dns.nameservers[%d] %q: want an IP address", i, text)
		}
	}
	if c.ResolvConf != "" && !filepath.IsAbs(c.ResolvConf) {
		return fail(types.ErrInvalidNetworkConfig, "ipam.resolvConf %q: want an absolute path", c.ResolvConf)
	}
	return nil
}

func parseMAC(field, text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, fail(types.ErrInvalidNetworkConfig, "%s %q: want six bytes like 02:00:00:00:00:01", field, text)
	}
	if mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
		return nil, fail(types.ErrInvalidNetworkConfig, "%s %s: a multicast or zero address cannot be an interface's", field, mac)
	}
	return mac, nil
}
