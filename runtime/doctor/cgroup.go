package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/varve-project/varve/internal/finding"
)

var (
	cgroupMissing = define(Definition{
		ID: "node.cgroup.missing", Severity: finding.Error,
		Text:    "no cgroup hierarchy is mounted below /sys/fs/cgroup",
		Meaning: "Containers cannot be limited or told apart; the OCI runtime refuses to start one.",
		Remedy:  "Mount cgroup v2; systemd does so at boot.",
		Command: "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
	})
	controllerMissing = define(Definition{
		ID: "node.cgroup.controller-missing", Severity: finding.Warning,
		Text:    "the cgroup {version} hierarchy has no {object} controller",
		Meaning: "A pod whose manifest limits that resource is refused or runs without the limit.",
		Remedy:  "Boot with it enabled (`cgroup_enable={object}` on the kernel's command line where it is off by default), or use a kernel that has it.",
	})
	cgroupReadOnly = define(Definition{
		ID: "node.cgroup.read-only", Severity: finding.Error,
		Text:    "the cgroup hierarchy {object} is mounted read-only",
		Meaning: "No cgroup can be made for a pod. This is how a container without privileges sees it.",
		Remedy:  "Run on the host itself; else mount it for writing.",
		Command: "mount -o remount,bind,rw {object}",
	})
)

// wanted are the controllers behind resources.limits of a manifest.
var wanted = []string{"cpu", "memory", "pids"}

const cgroupRoot = "/sys/fs/cgroup"

func (n *node) cgroups(context.Context) (finding.List, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, err
	}
	var list finding.List
	version, have := "", []string{}
	for _, m := range mounts {
		if !strings.HasPrefix(m.Mountpoint, cgroupRoot) {
			continue
		}
		if slices.Contains(strings.Split(m.Options, ","), "ro") {
			list = append(list, n.found(cgroupReadOnly, m.Mountpoint))
		}
		if m.FSType == "cgroup" {
			version = "v1"
			have = append(have, strings.Split(m.VFSOptions, ",")...)
			continue
		}
		// On a hybrid machine the unified hierarchy carries no
		// controllers that v1 has taken, and v1 is what runc uses.
		if version == "" {
			version = "v2"
		}
		data, err := os.ReadFile(filepath.Join(m.Mountpoint, "cgroup.controllers"))
		if err != nil {
			return list, err
		}
		have = append(have, strings.Fields(string(data))...)
	}
	if version == "" {
		return append(list, n.found(cgroupMissing, "")), nil
	}
	for _, name := range wanted {
		if !slices.Contains(have, name) {
			list = append(list, n.found(controllerMissing, name, "version", version))
		}
	}
	return list, nil
}
