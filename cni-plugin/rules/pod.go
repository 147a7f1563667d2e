package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
)

// Pod is everything that the table holds for one attachment. It is a value
// that can be recorded, compared, added and removed.
type Pod struct {
	// Owner names the attachment for people; it stands beside each element.
	Owner string `json:"owner"`
	// Addresses are the pod's.
	Addresses []netip.Addr `json:"addresses"`
	Net       Net          `json:"net"`
	Ports     []Port       `json:"ports,omitempty"`
	// NoSNAT: connections to the pod's host ports are never masqueraded, so
	// they work neither from the host's loopback nor from the pod's subnet.
	NoSNAT bool `json:"noSNAT,omitempty"`
	// MasqAll: all of them are.
	MasqAll bool `json:"masqAll,omitempty"`
	// Gateways are the host's addresses in the pod's subnets, one for each of
	// Addresses, by which the host itself reaches the pod when it asked for
	// a loopback address. Empty: it does not.
	Gateways []netip.Addr `json:"gateways,omitempty"`
}

// Net says what happens to packets from a network's pods. Pods with an equal
// Net share a chain.
type Net struct {
	// Subnets are the network's own.
	Subnets []netip.Prefix `json:"subnets"`
	// Masquerade what leaves the subnets,
	Masquerade bool `json:"masquerade,omitempty"`
	// except to here.
	Exceptions []netip.Prefix `json:"exceptions,omitempty"`
}

// Port is one host port of a pod.
type Port struct {
	// Protocol is tcp, udp or sctp.
	Protocol string `json:"protocol"`
	// HostIP is the host's address that the port is on. Invalid: every one
	// of both families; unspecified (0.0.0.0, ::): every one of its family.
	HostIP        netip.Addr `json:"hostIP,omitzero"`
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
}

// netPrefix is what the names of the networks' chains begin with.
const netPrefix = "net-"

// chain is the name of the network's chain. A network whose configuration
// changes gets a new chain for its new pods; the old one goes with Dismantle.
func (n Net) chain() string {
	data, err := json.Marshal(n)
	if err != nil {
		panic(err) // prefixes and booleans always marshal
	}
	sum := sha256.Sum256(data)
	return netPrefix + hex.EncodeToString(sum[:8])
}

// Serves tells whether p is reached at a pod's address a.
func (p Port) Serves(a netip.Addr) bool {
	return !p.HostIP.IsValid() || p.HostIP.Is4() == a.Is4()
}
