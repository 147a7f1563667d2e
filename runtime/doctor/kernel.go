package doctor

import (
	"context"

	"github.com/varve-project/varve/internal/finding"
)

var (
	overlayMissing = define(Definition{
		ID: "node.overlay.missing", Severity: finding.Error,
		Text:    "this kernel cannot mount overlay: {reason}",
		Meaning: "The overlay snapshotter cannot serve: no image is unpacked and no container starts.",
		Remedy:  "Load the module; where the kernel has none, choose another kernel or the aufs fallback (`--snapshotter varve-aufs`).",
		Command: "modprobe overlay",
	})
	netnsMissing = define(Definition{
		ID: "node.netns.missing", Severity: finding.Error,
		Text:    "no network namespace can be made: {reason}",
		Meaning: "Every pod needs one of its own; none can start.",
		Remedy:  "Run as root on the host itself, on a kernel with CONFIG_NET_NS; /proc/sys/user/max_net_namespaces must not be 0.",
	})
	linkMissing = define(Definition{
		ID: "node.link.missing", Severity: finding.Error,
		Text:    "this kernel makes no {object} link: {reason}",
		Meaning: "A pod is joined to the node by a veth pair on a bridge; without it CNI ADD fails for every pod.",
		Remedy:  "Load the module, or choose a kernel that has it.",
		Command: "modprobe {object}",
	})
	nftablesMissing = define(Definition{
		ID: "node.nftables.missing", Severity: finding.Error,
		Text:    "this kernel takes no nftables rule for address translation: {reason}",
		Meaning: "Masquerade and host ports are nftables rules; a pod that needs either cannot start.",
		Remedy:  "Load the modules, or choose a kernel with CONFIG_NF_TABLES and CONFIG_NFT_NAT.",
		Command: "modprobe -a nf_tables nft_nat nft_masq nft_chain_nat",
	})
	seccompMissing = define(Definition{
		ID: "node.seccomp.missing", Severity: finding.Error,
		Text:    "this kernel has no seccomp filter: {reason}",
		Meaning: "Containers run under the default seccomp profile; the OCI runtime refuses to start one without it.",
		Remedy:  "Choose a kernel with CONFIG_SECCOMP_FILTER.",
	})
)

// kernel tries each feature really; what /proc or a configuration file claims
// counts for nothing (a module may be absent, a container may forbid it).
func (n *node) kernel(context.Context) (finding.List, error) {
	var list finding.List
	if err := probeOverlay(n.config.Root); err != nil {
		list = append(list, n.found(overlayMissing, "", "reason", err.Error()))
	}
	if err := probeSeccomp(); err != nil {
		list = append(list, n.found(seccompMissing, "", "reason", err.Error()))
	}
	err := inNewNetns(func() error {
		for _, kind := range []string{"veth", "bridge"} {
			if err := probeLink(kind); err != nil {
				list = append(list, n.found(linkMissing, kind, "reason", err.Error()))
			}
		}
		if err := probeNftables(); err != nil {
			list = append(list, n.found(nftablesMissing, "", "reason", err.Error()))
		}
		return nil
	})
	if err != nil {
		list = append(list, n.found(netnsMissing, "", "reason", err.Error()))
	}
	return list, nil
}
