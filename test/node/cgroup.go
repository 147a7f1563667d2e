package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
)

// RemoveCgroup removes the cgroup of that name below the root of every
// hierarchy, v1 and v2, with its children. Cgroups are the one thing that no
// namespace of the node takes away. One that still has processes is an error;
// one that is not there is none.
func RemoveCgroup(name string) error {
	hierarchies, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	var failed error
	for _, hierarchy := range hierarchies {
		failed = errors.Join(failed, removeTree(filepath.Join(hierarchy.Mountpoint, name)))
	}
	return failed
}

// removeTree removes folders, deepest first; the files of a cgroup go with it.
func removeTree(root string) error {
	var folders []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	for _, folder := range slices.Backward(folders) {
		if failed := os.Remove(folder); failed != nil && !errors.Is(failed, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove cgroup: %w", failed))
		}
	}
	return err
}

// HasCgroup says whether some hierarchy has a cgroup of that name below its
// root.
func HasCgroup(name string) (bool, error) {
	hierarchies, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return false, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	return slices.ContainsFunc(hierarchies, func(h *mountinfo.Info) bool {
		_, err := os.Stat(filepath.Join(h.Mountpoint, name))
		return err == nil
	}), nil
}
