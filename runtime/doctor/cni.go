package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/varve-project/varve/internal/finding"
)

var (
	cniConfMissing = define(Definition{
		ID: "cni.config.missing", Severity: finding.Error,
		Text:    "there is no CNI configuration of the network {network} in {object}",
		Meaning: "No pod can join the network. containerd says \"cni plugin not initialized\" and keeps the node NotReady.",
		Remedy:  "`varve up` writes the default one; deploy/cni has one for containerd.",
		Command: "{varve} up",
	})
	cniConfBroken = define(Definition{
		ID: "cni.config.broken", Severity: finding.Error,
		Text:    "the CNI configuration of the network {network} in {object} cannot be read: {reason}",
		Meaning: "No pod can join the network. containerd says \"cni plugin not initialized\" and keeps the node NotReady.",
		Remedy:  "Mend what the reason names.",
	})
	cniBinaryMissing = define(Definition{
		ID: "cni.binary.missing", Severity: finding.Error,
		Text:    "the CNI plug-in {object} of the network {network} is in none of {folders}",
		Meaning: "Every ADD and DEL on this network fails: pods neither start nor end.",
		Remedy:  "Install it into one of these folders, or name its folder with --cni-bin-dir.",
	})
	cniBinaryMode = define(Definition{
		ID: "cni.binary.not-executable", Severity: finding.Error,
		Text:    "the CNI plug-in {object} of the network {network} is not executable",
		Meaning: "Every ADD and DEL on this network fails: pods neither start nor end.",
		Remedy:  "Give the mode back that `make install` gave it.",
		Command: "chmod 755 {object}",
	})
	cniStatus = define(Definition{
		ID: "cni.status.unavailable", Severity: finding.Error,
		Text:    "the network {object} takes no pods: {reason}",
		Meaning: "ADD would fail. containerd asks the same every few seconds and keeps the node NotReady meanwhile.",
		Remedy:  "The reason names what is missing.",
	})
)

func (n *node) cni(ctx context.Context) (finding.List, error) {
	dir, list := n.confDir()
	network := n.config.Network
	conf, err := libcni.LoadNetworkConf(dir, network)
	var none libcni.NoConfigsFoundError
	var notFound libcni.NotFoundError
	switch {
	case errors.As(err, &none), errors.As(err, &notFound):
		if n.down {
			return nil, nil // `varve up` writes it
		}
		return append(list, n.found(cniConfMissing, dir, "network", network)), nil
	case err != nil:
		return append(list, n.found(cniConfBroken, dir, "network", network, "reason", err.Error())), nil
	}
	usable := true
	for _, plugin := range conf.Plugins {
		if f, bad := n.cniBinary(plugin.Network.Type); bad {
			list = append(list, f)
			usable = false
		}
	}
	if !usable {
		return list, nil
	}
	statusCtx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := libcni.NewCNIConfig(n.config.BinDirs(), nil).GetStatusNetworkList(statusCtx, conf); err != nil {
		list = append(list, n.found(cniStatus, network, "reason", err.Error()))
	}
	found, err := n.cniDoctor(ctx, conf)
	return append(list, found...), err
}

// confDir is the folder of the network's configuration, by the rule that
// config.Config.CNIConfDir states.
func (n *node) confDir() (string, finding.List) {
	if n.config.CNIConfDir != "" {
		return n.config.CNIConfDir, nil
	}
	const system = "/etc/cni/net.d"
	if _, err := libcni.LoadNetworkConf(system, n.config.Network); err == nil {
		return system, nil
	}
	return filepath.Join(n.config.RuntimeRoot(), "cni", "net.d"), nil
}

// cniBinary looks for a plug-in as libcni does, and says what keeps it from
// running.
func (n *node) cniBinary(name string) (finding.Finding, bool) {
	dirs := n.config.BinDirs()
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			continue
		}
		if info.Mode()&0o111 == 0 {
			return n.found(cniBinaryMode, path, "network", n.config.Network), true
		}
		return finding.Finding{}, false
	}
	return n.found(cniBinaryMissing, name, "network", n.config.Network, "folders", strings.Join(dirs, ", ")), true
}

// cniDoctor runs varve-cni's own doctor with its part of the configuration, if
// the network has one.
func (n *node) cniDoctor(ctx context.Context, conf *libcni.NetworkConfigList) (finding.List, error) {
	for _, plugin := range conf.Plugins {
		if plugin.Network.Type != "varve-cni" {
			continue
		}
		path, err := n.binary("varve-cni")
		if err != nil {
			return nil, err
		}
		own, err := asInvoked(conf, plugin)
		if err != nil {
			return nil, err
		}
		return ownDoctor(ctx, path, own)
	}
	return nil, nil
}

// asInvoked is the plug-in's configuration with the name and version that
// libcni gives it on stdin.
func asInvoked(conf *libcni.NetworkConfigList, plugin *libcni.PluginConfig) ([]byte, error) {
	var keys map[string]any
	if err := json.Unmarshal(plugin.Bytes, &keys); err != nil {
		return nil, err
	}
	keys["name"], keys["cniVersion"] = conf.Name, conf.CNIVersion
	return json.Marshal(keys)
}
