package leak

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
)

// cgroupItems lists the cgroups of every mounted hierarchy, v1 and v2, that
// are the scope's.
func cgroupItems(scope Scope) (map[string]string, error) {
	items := map[string]string{}
	if len(scope.Cgroups) == 0 {
		return items, nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		err := filepath.WalkDir(m.Mountpoint, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil // removed while we walk
			}
			if err != nil || !entry.IsDir() {
				return err
			}
			relative, err := filepath.Rel(m.Mountpoint, path)
			if err == nil && scope.inCgroup("/"+relative) {
				items[path] = path
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return items, nil
}
