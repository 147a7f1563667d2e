package devmapper

import (
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	fsmount "github.com/varve-project/varve/internal/mount"
	"github.com/varve-project/varve/snapshotter/labels"
)

// spec is what decides a snapshot's mounts: pure data.
type spec struct {
	kind   snapshots.Kind
	path   string // of the block device
	fsType string
	ids    *labels.IDMap
	config Config
}

// mounts turns a spec into what the consumer mounts: always one mount of the
// snapshot's own block device, which a VM runtime takes as a disk.
//
// A View is a thin snapshot as well, and its device is writable although the
// mount is not: the kernel replays a journal that wants it even for a
// read-only mount, if it may write. So a View never shows what a crash left
// half done, and the parent's own device stays inactive, so that a snapshot
// of it need not suspend anybody.
func (s spec) mounts() []mount.Mount {
	var options []string
	if s.kind == snapshots.KindView {
		options = append(options, "ro")
	} else if s.config.OnlineDiscard {
		options = append(options, "discard")
	}
	options = append(options, fileSystemOptions(s.fsType)...)
	options = append(options, s.config.MountOptions...)
	if s.ids != nil {
		options = append(options, "uidmap="+s.ids.FormatUIDs(), "gidmap="+s.ids.FormatGIDs())
	}
	return []mount.Mount{{Type: s.fsType, Source: s.path, Options: options}}
}

// fileSystemOptions are what every mount of the type needs, ours included.
func fileSystemOptions(fsType string) []string {
	if fsType == fsmount.XFS {
		// All snapshots of a template have its UUID, and xfs mounts one of
		// each only (csi #482).
		return []string{"nouuid"}
	}
	return nil
}
