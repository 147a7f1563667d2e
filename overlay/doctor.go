package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/probe"
	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Doctor says what stands in the way of serving root with config on this
// kernel. It leaves nothing behind and needs no daemon.
func Doctor(root string, config Config) finding.List {
	var list finding.List
	l, err := newLayout(root)
	if err != nil {
		return finding.List{{
			ID: "overlay.root.unusable", Severity: finding.Error, Object: root, Text: err.Error(),
			Meaning: "the daemon does not start", Remedy: "choose another root in the configuration",
		}}
	}
	dir, err := nearest(l.root)
	if err != nil {
		return finding.List{{
			ID: "overlay.root.unusable", Severity: finding.Error, Object: root, Text: err.Error(),
			Meaning: "the daemon does not start", Remedy: "make the directory readable for root",
		}}
	}
	list = append(list, checkBacking(dir)...)
	list = append(list, checkSpace(dir)...)
	list = append(list, checkProbes(NewProbes(dir, config.ProjectIDFirst, config.ProjectIDLast), config)...)
	return list
}

// nearest returns path, or the closest directory above it that exists.
func nearest(path string) (string, error) {
	for {
		st, err := os.Stat(path)
		switch {
		case err == nil && st.IsDir():
			return path, nil
		case err == nil:
			return "", fmt.Errorf("%s is not a directory", path)
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
		path = filepath.Dir(path)
	}
}

// unfit are file systems that cannot hold an overlay's upper directory.
var unfit = map[int64]string{
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "NFS", unix.MSDOS_SUPER_MAGIC: "FAT",
	0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x65735546: "FUSE", 0x01021997: "9p",
}

func checkBacking(dir string) finding.List {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return finding.List{{ID: "overlay.root.unusable", Severity: finding.Error, Object: dir, Text: err.Error()}}
	}
	name, bad := unfit[st.Type]
	if !bad {
		return nil
	}
	return finding.List{{
		ID: "overlay.root.file-system", Severity: finding.Error, Object: dir,
		Text:    "the root is on " + name,
		Meaning: "the kernel takes no overlay upper directory there, or loses whiteouts and attributes",
		Remedy:  "put the root on a local ext4, xfs or btrfs",
	}}
}

func checkSpace(dir string) finding.List {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Blocks == 0 {
		return nil
	}
	const floor = 5
	var list finding.List
	if free := st.Bavail * 100 / st.Blocks; free < floor {
		list = append(list, finding.Finding{
			ID: "overlay.space.low", Severity: finding.Warning, Object: dir,
			Text:    fmt.Sprintf("%d%% of the blocks are free", free),
			Meaning: "pulls and containers fail when it is full",
			Remedy:  "remove images that are not needed, or grow the file system",
		})
	}
	if st.Files > 0 && st.Ffree*100/st.Files < floor {
		list = append(list, finding.Finding{
			ID: "overlay.inodes.low", Severity: finding.Warning, Object: dir,
			Text:    fmt.Sprintf("%d%% of the inodes are free", st.Ffree*100/st.Files),
			Meaning: "pulls and containers fail with \"no space left\" although there is space",
			Remedy:  "remove images that are not needed; ext4 gets more inodes only by growing or being made anew",
		})
	}
	return list
}

func checkProbes(p *Probes, config Config) finding.List {
	var list finding.List
	add := func(q *probe.Probe, id string, s finding.Severity, meaning string) {
		if cause := q.Cause(); cause != nil {
			list = append(list, finding.Finding{
				ID: id, Severity: s, Text: fmt.Sprintf("%s: %v", q.Name, cause), Meaning: meaning, Remedy: q.Remedy,
			})
		}
	}
	add(p.DType, "overlay.d-type.missing", finding.Error, "the daemon does not start: deleted files would show up in containers")
	add(p.Overlay, "overlay.mount.unsupported", finding.Error, "the daemon does not start")
	add(p.Whiteout, "overlay.rebase.unsupported", finding.Info, "layers are unpacked one after another, not in parallel")
	add(p.IDMapped, "overlay.idmap.unsupported", finding.Info, "containers with user namespaces of their own cannot share layers; they are refused")
	quota := finding.Info
	if config.Quota == "require" {
		quota = finding.Error
	}
	if config.Quota != "off" {
		add(p.Quota, "overlay.quota.unsupported", quota, "a size limit (the max-size label) is refused, and the usage of a running container is counted by walking its files")
		if p.Quota.Have() {
			add(p.Limit, "overlay.quota.unenforced", quota, "a size limit (the max-size label) is refused; usage is counted by the quota all the same")
		}
	}
	return list
}

// Detect tells the capabilities that a daemon on root would have. The root
// need not exist yet.
func Detect(root string, config Config) (snapshotter.Capabilities, error) {
	l, err := newLayout(root)
	if err != nil {
		return snapshotter.Capabilities{}, err
	}
	dir, err := nearest(l.root)
	if err != nil {
		return snapshotter.Capabilities{}, err
	}
	p := NewProbes(dir, config.ProjectIDFirst, config.ProjectIDLast)
	if err := errors.Join(p.DType.Err(), p.Overlay.Err()); err != nil {
		return snapshotter.Capabilities{}, err
	}
	return p.capabilities(config.Quota != "off" && p.Quota.Have()), nil
}

// Inspect is Audit of a root that no daemon has open; it changes nothing.
// The error wraps fs.ErrNotExist where there is no such root yet.
func Inspect(ctx context.Context, root string) (finding.List, error) {
	l, err := newLayout(root)
	if err != nil {
		return nil, err
	}
	disk, err := readDisk(l)
	if err != nil {
		return nil, err
	}
	records, err := metadata.ReadFile(ctx, l.metadata())
	if err != nil {
		return nil, err
	}
	return report(l, disk, records, false), nil
}
