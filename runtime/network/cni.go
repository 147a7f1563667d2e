package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/config"
)

// IfName is the name of the link in every pod.
const IfName = "eth0"

// timeout bounds one CNI operation. Plug-ins may wait for a daemon or a DHCP
// answer; CRI's own bound for a sandbox is 4 minutes.
const timeout = 2 * time.Minute

// Attachment is one pod's wish to be in the network.
type Attachment struct {
	// ID is CNI_CONTAINERID: the pod's UID.
	ID string
	// NetNS is the path of the pinned network namespace.
	NetNS string
	// Namespace, Name are the pod's, given to plug-ins as CNI_ARGS.
	Namespace, Name string
	// Ports are the host ports to open.
	Ports []PortMapping
}

// PortMapping is one entry of the capability "portMappings".
type PortMapping struct {
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// Result is what a pod got from the network.
type Result struct {
	// IPs are the pod's addresses on its link, in the plug-in's order.
	IPs []string
	// DNS is what the plug-in says of name servers; it may be empty.
	DNS types.DNS
}

// CNI drives the plug-ins of one network.
type CNI struct {
	cfg config.Config
	lib *libcni.CNIConfig
}

// New returns the network of a configuration. Nothing is read yet.
func New(c config.Config) *CNI {
	exec := &invoke.DefaultExec{
		// A plug-in's stderr is for a person; errors come on stdout.
		RawExec:       &invoke.RawExec{},
		PluginDecoder: version.PluginDecoder{},
	}
	cache := filepath.Join(c.RuntimeRoot(), "cni", "cache")
	return &CNI{c, libcni.NewCNIConfigWithCacheDir(c.BinDirs(), cache, exec)}
}

// Add joins a pod to the network. libcni records the call before anything
// else can depend on it; Del undoes even half an Add.
func (n *CNI) Add(ctx context.Context, a Attachment) (Result, error) {
	list, err := n.conf()
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	failpoint.Hit("runtime.run.cni-add.before")
	raw, err := n.lib.AddNetworkList(ctx, list, a.conf())
	failpoint.Hit("runtime.run.cni-add.after")
	if err != nil {
		return Result{}, fmt.Errorf("join network %q (CNI ADD): %w", list.Name, err)
	}
	res, err := current.NewResultFromResult(raw)
	if err != nil {
		return Result{}, fmt.Errorf("join network %q: result: %w", list.Name, err)
	}
	ips := podIPs(res)
	if len(ips) == 0 {
		return Result{}, fmt.Errorf("join network %q: the plug-in gave the pod no address; has its \"ipam\" ranges?", list.Name)
	}
	return Result{ips, res.DNS}, nil
}

// podIPs are the addresses that the result puts on a link in a sandbox.
func podIPs(res *current.Result) []string {
	var ips []string
	for _, ip := range res.IPs {
		if ip.Interface != nil && *ip.Interface >= 0 && *ip.Interface < len(res.Interfaces) &&
			res.Interfaces[*ip.Interface].Sandbox == "" {
			continue
		}
		if ip.Address.IP != nil && !ip.Address.IP.Equal(net.IPv6zero) {
			ips = append(ips, ip.Address.IP.String())
		}
	}
	return ips
}

// Check asks the plug-ins whether the pod is still as Add left it.
func (n *CNI) Check(ctx context.Context, a Attachment) error {
	list, err := n.conf()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := n.lib.CheckNetworkList(ctx, list, a.conf()); err != nil {
		return fmt.Errorf("check network %q: %w", list.Name, err)
	}
	return nil
}

// Del takes a pod out of the network. It is right to call it for a pod that
// never joined, whose namespace is gone, or twice. When the configuration has
// been removed, the one that libcni kept from Add is used; without either there
// is nobody left to ask, and nothing is done.
func (n *CNI) Del(ctx context.Context, a Attachment) error {
	conf := a.conf()
	list, err := n.conf()
	if err != nil {
		list, err = n.kept(conf, err)
	}
	if list == nil || err != nil {
		return err
	}
	if !isNamespace(a.NetNS) {
		conf.NetNS = "" // gone: the plug-ins free what they hold elsewhere
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	failpoint.Hit("runtime.rm.cni-del.before")
	err = n.lib.DelNetworkList(ctx, list, conf)
	failpoint.Hit("runtime.rm.cni-del.after")
	if err != nil {
		return fmt.Errorf("leave network %q (CNI DEL): %w", list.Name, err)
	}
	return nil
}

// kept finds the configuration that Add was called with. It returns nil
// without an error when there was no Add.
func (n *CNI) kept(conf *libcni.RuntimeConf, missing error) (*libcni.NetworkConfigList, error) {
	byName := &libcni.NetworkConfigList{Name: n.cfg.Network}
	data, _, err := n.lib.GetNetworkListCachedConfig(byName, conf)
	if err != nil {
		return nil, errors.Join(missing, err)
	}
	if data == nil {
		return nil, nil
	}
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("network %q: the configuration kept from ADD: %w", n.cfg.Network, err)
	}
	return list, nil
}

func (a Attachment) conf() *libcni.RuntimeConf {
	caps := map[string]any{}
	if len(a.Ports) > 0 {
		caps["portMappings"] = a.Ports
	}
	return &libcni.RuntimeConf{
		ContainerID: a.ID, NetNS: a.NetNS, IfName: IfName, CapabilityArgs: caps,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", a.Namespace}, {"K8S_POD_NAME", a.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", a.ID}, {"K8S_POD_UID", a.ID},
		},
	}
}
