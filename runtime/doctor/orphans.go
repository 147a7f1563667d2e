package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/volume"
)

var (
	netnsOrphan = define(Definition{
		ID: "runtime.netns.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "the network namespace {object} belongs to no pod",
		Meaning: "It keeps a veth pair and an address that no pod uses; the network plug-in frees both when it is gone.",
		Remedy:  "Unpin it.",
		Command: "while umount -q -l {object}; do :; done; rm -f {object}",
	})
	stateOrphan = define(Definition{
		ID: "runtime.pod-state.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "the folder {object} belongs to no pod",
		Meaning: "It holds bundles and sockets of a pod that is gone.",
		Remedy:  "Remove it.",
		Command: "rm -rf --one-file-system {object}",
	})
	mountOrphan = define(Definition{
		ID: "runtime.mount.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "{count} mounts below {object} belong to no pod",
		Meaning: "They keep snapshots and volumes busy: an image or a volume cannot be removed while they are there.",
		Remedy:  "Unmount them, and remove the folder.",
		Command: "umount -l {mounts} && rm -rf --one-file-system {object}",
	})
	stagingOrphan = define(Definition{
		ID: "runtime.staging.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "{object} is where a volume was staged that is not recorded",
		Meaning: "Its device stays attached, and the CSI driver refuses to delete the volume.",
		Remedy:  "Unmount it and remove the folder; the CSI driver gives the device back at its next start.",
		Command: "umount -q -l {mounts}; rm -rf --one-file-system {object}",
	})
	supervisorOrphan = define(Definition{
		ID: "runtime.supervisor.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "process {pid} is the supervisor of a pod {object} that is not recorded",
		Meaning: "It looks after nothing and holds the lock of that name: no pod of that name can start.",
		Remedy:  "End it.",
		Command: "kill {pid}",
	})
	loopOrphan = define(Definition{
		ID: "runtime.loop.orphan", Severity: finding.Warning, Orphan: true,
		Text:    "{object} is attached to {file}, which has been deleted",
		Meaning: "The space of the file is not free until the device lets go.",
		Remedy:  "Detach it.",
		Command: "losetup -d {object}",
	})
)

// pause lies between two looks. What is being made or taken
// away right now looks like an orphan for a moment; it does not twice.
const pause = 300 * time.Millisecond

// orphans looks for what belongs to no pod.
func (n *node) orphans(ctx context.Context) (finding.List, error) { return twice(ctx, n.orphansNow) }

// twice looks a second time when there is something to see, and keeps what
// was there both times.
func twice(ctx context.Context, look func() (finding.List, error)) (finding.List, error) {
	first, err := look()
	if len(first) == 0 {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(pause):
	}
	second, err := look()
	seen := map[string]bool{}
	for _, f := range first {
		seen[f.ID+" "+f.Object] = true
	}
	var list finding.List
	for _, f := range second {
		if seen[f.ID+" "+f.Object] {
			list = append(list, f)
		}
	}
	return list, err
}

// orphansNow reads the effects before the records: a record is written before
// its effects, so an effect that was seen and has no record now has no owner.
func (n *node) orphansNow() (finding.List, error) {
	var all []orphan
	var errs []error
	for _, look := range []func() ([]orphan, error){
		n.netnsOwners, n.stateOwners, n.stagingOwners, n.containerOwners, n.cgroupOwners, n.supervisorOwners,
	} {
		found, err := look()
		all = append(all, found...)
		errs = append(errs, err)
	}
	owners, err := n.owners()
	if err != nil {
		// An unreadable record may own any of them.
		return nil, errors.Join(errs...)
	}
	var list finding.List
	for _, o := range all {
		if !owners[o.owner] {
			list = append(list, o.finding)
		}
	}
	loops, err := n.deletedLoops()
	return append(list, loops...), errors.Join(append(errs, err)...)
}

// owners are the UIDs and keys of the recorded pods, and the keys of the
// recorded volumes.
func (n *node) owners() (map[string]bool, error) {
	pods, err := pod.NewStore(n.config).List()
	if err != nil {
		return nil, err
	}
	store := volume.Open(n.config)
	volumes, err := store.List()
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	owners := map[string]bool{}
	for _, r := range pods {
		owners[r.UID], owners[r.FileName()] = true, true
	}
	for _, v := range volumes {
		owners["volume "+v.FileName()] = true
	}
	return owners, nil
}

// orphan is a finding that holds unless its owner, a pod's UID or key, is
// recorded.
type orphan struct {
	owner   string
	finding finding.Finding
}

func (n *node) netnsOwners() ([]orphan, error) {
	var all []orphan
	names, err := entries(pod.NetNSDir(n.config))
	for _, uid := range names {
		all = append(all, orphan{uid, n.found(netnsOrphan, filepath.Join(pod.NetNSDir(n.config), uid))})
	}
	return all, err
}

// stateOwners lists the pods' folders that a reboot clears, each with the
// mounts below it.
func (n *node) stateOwners() ([]orphan, error) {
	return n.foldersWithMounts("pods", "", func(path string, mounts []string) finding.Finding {
		if len(mounts) == 0 {
			return n.found(stateOrphan, path)
		}
		return n.found(mountOrphan, path, "count", count(len(mounts)), "*mounts", strings.Join(mounts, "\n"))
	})
}

// stagingOwners lists the folders of staged volumes.
func (n *node) stagingOwners() ([]orphan, error) {
	return n.foldersWithMounts("volumes", "volume ", func(path string, mounts []string) finding.Finding {
		if len(mounts) == 0 {
			mounts = []string{path}
		}
		return n.found(stagingOrphan, path, "*mounts", strings.Join(mounts, "\n"))
	})
}

// foldersWithMounts lists what is in a folder of the runtime's state, each
// entry with the mounts at and below it, the topmost first. kind goes before
// the owner's name.
func (n *node) foldersWithMounts(folder, kind string, report func(path string, mounts []string) finding.Finding) ([]orphan, error) {
	dir := filepath.Join(n.config.RuntimeState(), folder)
	names, err := entries(dir)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	dir = realPath(dir)
	below, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, err
	}
	var all []orphan
	for _, name := range names {
		path := filepath.Join(dir, name)
		var mounts []string
		for _, m := range below {
			if strings.HasPrefix(m.Mountpoint, path+"/") || m.Mountpoint == path {
				// Later ones may lie on earlier ones: the last goes first.
				mounts = append([]string{m.Mountpoint}, mounts...)
			}
		}
		all = append(all, orphan{kind + name, report(path, mounts)})
	}
	return all, nil
}

// supervisorOwners lists the processes that hold the lock of a pod's key.
// Other locks lie in the same folder; their holders leave no name.
func (n *node) supervisorOwners() ([]orphan, error) {
	names, err := entries(pod.LocksDir(n.config))
	var all []orphan
	for _, name := range names {
		key := strings.TrimSuffix(name, ".lock")
		if holder, err := n.supervisor(key); err == nil {
			all = append(all, orphan{key, n.found(supervisorOrphan, key, "pid", count(holder.Pid))})
		}
	}
	return all, err
}

// deletedLoops finds loop devices whose backing file lay below our root. The
// kernel appends " (deleted)" to the name of a file that is gone.
func (n *node) deletedLoops() (finding.List, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	var list finding.List
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // detached since
		}
		file, deleted := strings.CutSuffix(strings.TrimSpace(string(data)), " (deleted)")
		if deleted && strings.HasPrefix(file, realPath(n.config.Root)+"/") {
			device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(path)))
			list = append(list, n.found(loopOrphan, device, "file", file))
		}
	}
	return list, err
}

// entries lists the names in dir that a keep function wants (all, without
// one), none when dir is absent.
func entries(dir string, keep ...func(fs.DirEntry) bool) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range list {
		if len(keep) == 0 || keep[0](e) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// realPath is path as the kernel's tables name it.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
