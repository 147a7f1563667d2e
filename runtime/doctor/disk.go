package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/finding"
)

var (
	diskLow = define(Definition{
		ID: "node.disk.low", Severity: finding.Warning,
		Text:    "the file system of {object} has {free} of its {what} left",
		Meaning: "kubelet evicts pods below 10% of the space and 5% of the inodes; a full disk fails every image pull, volume and record.",
		Remedy:  "Remove images that nothing uses, or give the file system more room.",
		Command: "{varve} image prune",
	})
	diskFull = define(Definition{
		ID: "node.disk.full", Severity: finding.Error,
		Text:    "the file system of {object} has {free} of its {what} left",
		Meaning: "No record can be written: nothing new starts, and what runs may fail at its next write.",
		Remedy:  "Remove images that nothing uses, or give the file system more room.",
		Command: "{varve} image prune",
	})
	diskReadOnly = define(Definition{
		ID: "node.disk.read-only", Severity: finding.Error,
		Text:    "the file system of {object} is mounted read-only",
		Meaning: "Nothing can be recorded, so nothing starts or ends. After a disk error the kernel does this by itself: look into its log first.",
		Remedy:  "When the disk is sound, mount it for writing.",
		Command: "mount -o remount,rw {mount}",
	})
	rootVolatile = define(Definition{
		ID: "node.root.volatile", Severity: finding.Warning,
		Text:    "{object}, which must outlive a reboot, is on a {type}",
		Meaning: "Images, volumes and the records of both are gone after the next boot.",
		Remedy:  "Put --root on a disk.",
	})
)

// Floors of free space and inodes in percent: kubelet's own hard thresholds
// (nodefs.available<10%, nodefs.inodesFree<5%), and one where writes fail soon.
const (
	lowSpace, lowInodes = 10, 5
	full                = 1
)

func (n *node) disk(context.Context) (finding.List, error) {
	var list finding.List
	var errs []error
	for _, dir := range []string{n.config.Root, n.config.State} {
		st, at, err := statfs(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if st.Flags&unix.ST_RDONLY != 0 {
			list = append(list, n.found(diskReadOnly, dir, "mount", at))
			continue
		}
		list = append(list, n.floor(dir, "space", st.Bavail, st.Blocks, lowSpace)...)
		// btrfs and others make inodes as they go and count none.
		list = append(list, n.floor(dir, "inodes", st.Ffree, st.Files, lowInodes)...)
		if dir == n.config.Root && (st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC) {
			list = append(list, n.found(rootVolatile, dir, "type", "tmpfs"))
		}
	}
	return list, errors.Join(errs...)
}

func (n *node) floor(dir, what string, free, total uint64, low float64) finding.List {
	if total == 0 {
		return nil
	}
	percent := 100 * float64(free) / float64(total)
	kind := diskLow
	switch {
	case percent <= full:
		kind = diskFull
	case percent >= low:
		return nil
	}
	return finding.List{n.found(kind, dir, "what", what, "free", fmt.Sprintf("%.1f%%", percent))}
}

// statfs asks for dir, or for the nearest folder above it when the suite has
// not made it yet. It returns where it asked.
func statfs(dir string) (unix.Statfs_t, string, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			if err != nil {
				err = fmt.Errorf("statfs %s: %w", dir, err)
			}
			return st, dir, err
		}
		dir = filepath.Dir(dir)
	}
}
