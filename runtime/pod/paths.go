package pod

import (
	"fmt"
	"path/filepath"

	"github.com/varve-project/varve/runtime/config"
)

func snapshotKey(uid, container string, attempt int) string {
	return fmt.Sprintf("%s-%s-%d", uid, container, attempt)
}

// Paths says where the files of one pod are. The durable ones follow from
// its key, those that a reboot clears from its UID.
type Paths struct {
	// Dir holds the record, the journal and the logs, and outlives a reboot.
	Dir string
	// State holds sockets, mounts and bundles; a reboot clears it.
	State string
	// NetNS is where the network namespace is pinned.
	NetNS string
	// EmptyDirs holds the emptyDir volumes that are on disk.
	EmptyDirs string
}

// PathsOf returns the paths of a pod.
func PathsOf(c config.Config, k Key, uid string) Paths {
	return Paths{
		Dir:       filepath.Join(PodsDir(c), k.FileName()),
		State:     filepath.Join(c.RuntimeState(), "pods", uid),
		NetNS:     filepath.Join(NetNSDir(c), uid),
		EmptyDirs: filepath.Join(PodsDir(c), k.FileName(), "emptydir"),
	}
}

// PodsDir holds one folder per pod.
func PodsDir(c config.Config) string { return filepath.Join(c.RuntimeRoot(), "pods") }

// NetNSDir holds the pinned network namespaces, one file per pod UID.
func NetNSDir(c config.Config) string { return filepath.Join(c.RuntimeState(), "netns") }

// LocksDir holds one lock file per pod key.
func LocksDir(c config.Config) string { return filepath.Join(c.RuntimeState(), "locks") }

// Journal is the file of the pod's phases.
func (p Paths) Journal() string { return filepath.Join(p.Dir, "journal.jsonl") }

// Logs is the folder of a container's logs.
func (p Paths) Logs(container string) string { return filepath.Join(p.Dir, "logs", container) }

// Log is the file of one run of a container.
func (p Paths) Log(container string, attempt int) string {
	return filepath.Join(p.Logs(container), fmt.Sprintf("%d.log", attempt))
}

// SupervisorLog is where the pod's supervisor writes what goes wrong with it.
func (p Paths) SupervisorLog() string { return filepath.Join(p.Dir, "supervisor.log") }

// NS is where the namespace of a kind ("ipc", "uts") is pinned.
func (p Paths) NS(kind string) string { return filepath.Join(p.State, "ns", kind) }

// Shm is the pod's /dev/shm, shared by its containers as their IPC namespace
// is.
func (p Paths) Shm() string { return filepath.Join(p.State, "shm") }

// Etc is the folder of the files that are put over /etc/hosts,
// /etc/resolv.conf and /etc/hostname.
func (p Paths) Etc(name string) string { return filepath.Join(p.State, "etc", name) }

// Bundle is the folder of a container's OCI bundle and stdio.
func (p Paths) Bundle(container string) string {
	return filepath.Join(p.State, "containers", container)
}

// Rootfs is where a container's root file system is mounted.
func (p Paths) Rootfs(container string) string {
	return filepath.Join(p.Bundle(container), "rootfs")
}

// Volume is where a volume of the pod is mounted or bound.
func (p Paths) Volume(name string) string { return filepath.Join(p.State, "volumes", name) }
