package doctor

import (
	"context"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/varve-project/varve/internal/finding"
)

var (
	csiProbe = define(Definition{
		ID: "csi.probe.failed", Severity: finding.Error,
		Text:    "the CSI driver at {object} is not ready: {reason}",
		Meaning: "Claimed volumes cannot be made, attached or removed.",
		Remedy:  "The reason says what it waits for; its log says more.",
	})
	csiForeign = define(Definition{
		ID: "csi.identity.foreign", Severity: finding.Error,
		Text:    "{object} is served by the CSI driver {name}, not by csi.varve.dev",
		Meaning: "Volumes would be made by another driver and not be found again.",
		Remedy:  "Give one of the two another socket (--csi-address here, --address there).",
	})
	csiUnregistered = define(Definition{
		ID: "csi.kubelet.unregistered", Severity: finding.Info,
		Text:    "kubelet runs plug-ins from {object}, and csi.varve.dev is not among them",
		Meaning: "Pods of Kubernetes that claim a csi.varve.dev volume fail with \"driver name csi.varve.dev not found in the list of registered CSI drivers\". Pods of varve do not need it.",
		Remedy:  "Run node-driver-registrar beside varve-csi, as the manifests in deploy/kubernetes do.",
	})
)

const (
	driverName    = "csi.varve.dev"
	registrations = "/var/lib/kubelet/plugins_registry"
)

func (n *node) csi(ctx context.Context) (finding.List, error) {
	var list finding.List
	entries, err := os.ReadDir(registrations)
	if err == nil && len(entries) > 0 {
		ours, _ := filepath.Glob(filepath.Join(registrations, driverName+"*"))
		if len(ours) == 0 {
			list = append(list, n.found(csiUnregistered, registrations))
		}
	}
	address := n.config.CSISocket()
	if !n.serving["csi"] {
		return list, nil // the check of the sockets has said so
	}
	conn, err := dial(address)
	if err != nil {
		return list, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	identity := csi.NewIdentityClient(conn)
	info, err := identity.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	if err != nil {
		return append(list, n.found(csiProbe, address, "reason", err.Error())), nil
	}
	if info.Name != driverName {
		list = append(list, n.found(csiForeign, address, "name", info.Name))
	}
	probe, err := identity.Probe(ctx, &csi.ProbeRequest{})
	switch {
	case err != nil:
		list = append(list, n.found(csiProbe, address, "reason", err.Error()))
	case probe.Ready != nil && !probe.Ready.Value:
		list = append(list, n.found(csiProbe, address, "reason", "its Probe answers \"not ready\""))
	}
	return list, nil
}
