package leak

import (
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"
)

func readMounts(file string) ([]*mountinfo.Info, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mounts, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return mounts, nil
}

func mountItems(mounts []*mountinfo.Info, scope Scope) map[string]string {
	items := map[string]string{}
	for _, m := range mounts {
		if scope.OwnMounts || scope.owns(m) {
			key := fmt.Sprintf("%d %s", m.ID, m.Mountpoint)
			items[key] = fmt.Sprintf("%s type %s from %s", m.Mountpoint, m.FSType, m.Source)
		}
	}
	return items
}

// owns says whether a mount lies in one of the scope's folders or is made of
// one: as its device, as the root of a bind mount (which the kernel names
// relative to its file system) or as an option, such as an overlay's lowerdir.
func (s Scope) owns(m *mountinfo.Info) bool {
	return s.below(m.Mountpoint) || s.below(m.Source) || s.below(m.Root) || s.mentions(m.VFSOptions)
}

// rootedBelow says whether the process's root file system is made of files of
// the scope's: an overlay names its layers in the options of its super block.
// It is how a container is known whose supervisor has gone, since its own
// /proc/PID/root reads "/" after pivot_root.
func rootedBelow(pidDir string, scope Scope) bool {
	mounts, err := readMounts(pidDir + "/mountinfo")
	if err != nil {
		return false
	}
	for _, m := range mounts {
		if m.Mountpoint == "/" {
			return scope.mentions(m.VFSOptions) || scope.mentions(m.Source) || scope.mentions(m.Root)
		}
	}
	return false
}

// pinned returns the name of the namespace that a mount keeps alive
// ("net:[4026532188]"), or "".
func pinned(m *mountinfo.Info) string {
	if m.FSType != "nsfs" || !strings.Contains(m.Root, ":[") {
		return ""
	}
	return m.Root
}
