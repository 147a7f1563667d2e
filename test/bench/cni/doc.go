// Package cni measures ADD and DEL of the CNI plug-in against the reference
// chain bridge, portmap, bandwidth, firewall: both families, masquerade, two
// host ports and limits both ways, called by libcni as a runtime calls them,
// each side with its own bridge in one network namespace.
//
// It gates nothing: a missed target is printed, and no test is bound to time.
package cni

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

// side is a plug-in chain with its configuration.
type side struct {
	name string
	list *libcni.NetworkConfigList
	cni  *libcni.CNIConfig
	// firstPort tells the sides' host ports apart.
	firstPort int
}

const oursName, referenceName = "varve-cni", "reference chain v1.9.1"

// oursConf is the reference's configuration with its chained plug-ins gone.
const oursConf = `{"cniVersion": "1.0.0", "name": "ours", "plugins": [{
  "type": "varve-cni", "bridge": "ours0", "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.231.0.0/16"}], [{"subnet": "fd00:231::/64"}]]},
  "capabilities": {"portMappings": true, "bandwidth": true}
}]}`

const referenceConf = `{"cniVersion": "1.0.0", "name": "reference", "plugins": [
  {"type": "bridge", "bridge": "ref0", "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.232.0.0/16"}], [{"subnet": "fd00:232::/64"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "bandwidth", "capabilities": {"bandwidth": true}},
  {"type": "firewall"}
]}`

func newSide(name, conf, plugins, dir string, firstPort int) (*side, error) {
	data, cache := filepath.Join(dir, name, "data"), filepath.Join(dir, name, "cache")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	list, err := libcni.ConfListFromBytes(fmt.Appendf(nil, conf, data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &side{name, list, libcni.NewCNIConfigWithCacheDir([]string{plugins}, cache, nil), firstPort}, nil
}

// load is what the pods of a batch ask for.
type load struct {
	// second is the protocol of the second host port.
	second string
	note   string
	add    float64 // the target of ADD
	del    float64
}

// loads: with UDP, both sides also look for flows in the kernel's connection
// table, which costs a walk of the whole of it.
var loads = []load{
	{"tcp", "both families, masquerade, two TCP host ports, limits both ways", 1.0 / 20, 1.0 / 6},
	{"udp", "the same with one host port of TCP and one of UDP: the kernel's whole connection table is walked for old flows", 0, 0},
}

// runtime is what a runtime says of the nth pod of a batch.
func (s *side) runtime(l load, id, netns string, n int) *libcni.RuntimeConf {
	limit := map[string]any{"ingressRate": 800_000_000, "ingressBurst": 8_000_000, "egressRate": 800_000_000, "egressBurst": 8_000_000}
	ports := []map[string]any{
		{"hostPort": s.firstPort + 2*n, "containerPort": 80, "protocol": "tcp"},
		{"hostPort": s.firstPort + 2*n + 1, "containerPort": 53, "protocol": l.second},
	}
	return &libcni.RuntimeConf{ContainerID: id, NetNS: netns, IfName: "eth0",
		CapabilityArgs: map[string]any{"portMappings": ports, "bandwidth": limit}}
}

func (s *side) add(ctx context.Context, rc *libcni.RuntimeConf) error {
	_, err := s.cni.AddNetworkList(ctx, s.list, rc)
	return err
}

func (s *side) del(ctx context.Context, rc *libcni.RuntimeConf) error {
	return s.cni.DelNetworkList(ctx, s.list, rc)
}
