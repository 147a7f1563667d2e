package doctor

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/varve-project/varve/internal/finding"
)

var (
	containerOrphan = define(Definition{
		ID: "runtime.container.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "the OCI runtime knows a container {object} that belongs to no pod",
		Meaning: "If it runs, nobody looks after it; it keeps its root file system, volumes and cgroups busy.",
		Remedy:  "Kill it and have it forgotten.",
		Command: "{runtime} --root {root} delete --force {object}",
	})
	cgroupOrphan = define(Definition{
		ID: "runtime.cgroup.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "the cgroups of {object} are empty and belong to no pod",
		Meaning: "Each keeps a little kernel memory.",
		Remedy:  "Remove them; rmdir refuses one that is in use.",
		Command: "find {paths} -depth -type d -exec rmdir {} +",
	})
)

// containerOwners lists what the OCI runtime keeps: a folder for each
// container, named UID-CONTAINER.
func (n *node) containerOwners() ([]orphan, error) {
	runtime, err := n.ociRuntime()
	if err != nil {
		return nil, nil // said by the check of the runtime
	}
	names, err := entries(runtime.Root, fs.DirEntry.IsDir)
	var all []orphan
	for _, name := range names {
		if len(name) <= uidLength || name[uidLength] != '-' {
			continue
		}
		all = append(all, orphan{name[:uidLength], n.found(containerOrphan, name, "runtime", runtime.Path, "root", runtime.Root)})
	}
	return all, err
}

// uidLength is that of a UUID's text form.
const uidLength = 36

// cgroupOwners lists the empty cgroups of pods, those of one pod together. A
// cgroup with a process in it is no orphan: rmdir could not take it away.
func (n *node) cgroupOwners() ([]orphan, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, err
	}
	paths, busy := map[string][]string{}, map[string]bool{}
	for _, m := range mounts {
		parent := filepath.Join(m.Mountpoint, n.config.CgroupParent())
		names, err := entries(parent, fs.DirEntry.IsDir)
		if err != nil {
			return nil, err
		}
		for _, uid := range names {
			paths[uid] = append(paths[uid], filepath.Join(parent, uid))
			busy[uid] = busy[uid] || hasProcesses(filepath.Join(parent, uid))
		}
	}
	var all []orphan
	for _, uid := range sortedKeys(paths) {
		if !busy[uid] {
			name := n.config.CgroupParent() + "/" + uid
			all = append(all, orphan{uid, n.found(cgroupOrphan, name, "*paths", strings.Join(paths[uid], "\n"))})
		}
	}
	return all, nil
}

// hasProcesses tells whether a process is in dir or below it; what cannot be
// read counts as one.
func hasProcesses(dir string) bool {
	busy := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "cgroup.procs" {
			data, err := os.ReadFile(path)
			busy = busy || err != nil || len(data) > 0
		}
		return nil
	})
	return busy || err != nil
}

func count(n int) string { return strconv.Itoa(n) }
