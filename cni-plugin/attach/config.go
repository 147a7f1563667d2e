package attach

import (
	"net"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/rules"
)

// Config is a parsed and checked network configuration: values only, no
// handle on anything. Parse makes it.
type Config struct {
	CNIVersion string
	Network    string

	Bridge           string
	IsGateway        bool
	IsDefaultGateway bool
	ForceAddress     bool
	MTU              int // 0: the bridge's, else the uplink's
	Hairpin          bool
	Promisc          bool
	PortIsolation    bool
	DAD              bool

	// ForwardRule: foreign chains that drop forwarded packets get our rule.
	ForwardRule bool

	IPMasq         bool
	MasqExceptions []netip.Prefix

	Ranges  []ipam.RangeSet
	Wanted  []netip.Addr
	Routes  []types.Route
	DataDir string
	// HostLocal is the folder of host-local's networks, whose reservations are
	// imported once; "" for none.
	HostLocal  string
	ResolvConf string
	Rest       time.Duration
	DNS        types.DNS
	MAC        net.HardwareAddr

	Ports   []rules.Port
	SNAT    bool
	MasqAll bool
	Limits  Limits

	// Prev is nil when this plug-in is the first of its chain.
	Prev *current.Result
	// Valid is nil when GC was sent no list, which frees nothing; an empty
	// list frees everything of the network.
	Valid *[]types.GCAttachment
}

// Limits are bandwidths in bits per second and bursts in bits; 0 is none.
// Ingress is towards the container.
type Limits struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}
