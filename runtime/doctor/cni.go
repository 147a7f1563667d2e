package doctor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/network"
)

var (
	cniConfMissing = define(Definition{
		ID: "cni.config.missing", Severity: finding.Error,
		Text:    "there is no CNI configuration of the network {network} in {folders}",
		Meaning: "No pod can join the network. containerd says \"cni plugin not initialized\" and keeps the node NotReady.",
		Remedy:  "`varve up` writes the default one; deploy/cni has one for containerd.",
		Command: "{varve} up",
	})
	cniConfBroken = define(Definition{
		ID: "cni.config.broken", Severity: finding.Error,
		Text:    "the CNI configuration {object} cannot be read: {reason}",
		Meaning: "Runtimes pass over it, or stop at it: where it is the only one, containerd says \"cni plugin not initialized\" and keeps the node NotReady.",
		Remedy:  "Mend what the reason names, or remove the file.",
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
	conf, list, err := n.cniConf()
	if conf == nil || err != nil {
		return list, err
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
		list = append(list, n.found(cniStatus, conf.Name, "reason", err.Error()))
	}
	found, err := n.cniDoctor(ctx, conf)
	return append(list, found...), err
}

// cniConf finds the configuration of the network where pods find it, and says
// which files nobody can read. It returns nil without one.
func (n *node) cniConf() (*libcni.NetworkConfigList, finding.List, error) {
	var list finding.List
	dirs := network.ConfDirs(n.config)
	for _, dir := range dirs {
		files, err := libcni.ConfFiles(dir, []string{".conflist"})
		if err != nil {
			return nil, list, err
		}
		for _, file := range files {
			conf, err := libcni.NetworkConfFromFile(file)
			if err != nil {
				list = append(list, n.found(cniConfBroken, file, "reason", err.Error()))
			} else if conf.Name == n.config.Network {
				return conf, list, nil
			}
		}
	}
	if !n.down { // else `varve up` has yet to write it
		list = append(list, n.found(cniConfMissing, dirs[len(dirs)-1],
			"network", n.config.Network, "folders", strings.Join(dirs, " or ")))
	}
	return nil, list, nil
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

// cniDoctor runs varve-cni's own doctor over the lease store that the network
// is configured with, if varve-cni serves it.
func (n *node) cniDoctor(ctx context.Context, conf *libcni.NetworkConfigList) (finding.List, error) {
	for _, plugin := range conf.Plugins {
		if plugin.Network.Type != "varve-cni" {
			continue
		}
		path, err := n.binary("varve-cni")
		if err != nil {
			return nil, err
		}
		var keys struct {
			IPAM struct {
				DataDir string `json:"dataDir"`
			} `json:"ipam"`
		}
		if err := json.Unmarshal(plugin.Bytes, &keys); err != nil {
			return nil, err
		}
		var args []string
		if keys.IPAM.DataDir != "" {
			args = []string{"--data-dir", keys.IPAM.DataDir}
		}
		found, err := ownDoctor(ctx, path, args...)
		// That every pod has a living lease is nothing to find.
		return slices.DeleteFunc(found, func(f finding.Finding) bool { return f.ID == "cni.lease.alive" }), err
	}
	return nil, nil
}
