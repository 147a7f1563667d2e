// Package snapshotter is the contract between Varve's snapshotter daemons and
// their drivers (overlay, devmapper, aufs-compat). Below it are the parts the
// daemons share: the gRPC server, the trash, the conformance suite.
//
// A driver is a plain containerd snapshots.Snapshotter. It knows nothing of
// how it is served: deadlines, metrics, drain and collecting a List before it
// is streamed are the server's business.
package snapshotter

import (
	"context"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/internal/finding"
)

// Driver is what a snapshotter daemon serves.
//
// Beyond the interface it embeds, every driver keeps these promises, which
// the conformance suite checks:
//
//   - Remove marks the snapshot as gone in one transaction and returns; what
//     it held on disk is deleted behind it, also after a crash. A snapshot
//     that is in use answers errdefs.ErrFailedPrecondition.
//   - Cleanup returns once everything removed before the call is deleted.
//   - Nothing slow (exec, mount, mkfs, walk) runs inside a metadata
//     transaction or under a lock that another key needs.
//   - Every call honours its context.
//   - A label that cannot be served is refused with
//     errdefs.ErrInvalidArgument that names label and value, never ignored;
//     what the kernel or the file system lacks is errdefs.ErrNotImplemented
//     that names the feature and the remedy.
type Driver interface {
	snapshots.Snapshotter
	snapshots.Cleaner

	// Capabilities says what this driver does on this kernel and this root.
	// The answer does not change while the driver is open.
	Capabilities() Capabilities

	// Audit compares the driver's records with disk (or pool) both ways.
	// With fix it moves what has no record to the trash; a record without
	// its data is reported and never touched. Safe beside live calls.
	Audit(ctx context.Context, fix bool) (finding.List, error)
}

// Capabilities is the matrix by which the conformance suites choose cases, and
// from which `stanza` prints the containerd plug-in capabilities.
type Capabilities struct {
	// Rebase: Commit accepts a parent that the active snapshot did not have
	// (containerd's "rebase"; parallel unpack needs it). Block snapshots
	// cannot.
	Rebase bool `json:"rebase"`
	// RemapIDs: the uidmapping and gidmapping labels are served by idmapped
	// mounts (containerd's "remap-ids").
	RemapIDs bool `json:"remapIDs"`
	// MaxSize: the max-size label is enforced by the kernel.
	MaxSize bool `json:"maxSize"`
	// GrowOnly: a max-size below the size of the parent's file system is
	// refused, since a file system on a block device does not shrink.
	GrowOnly bool `json:"growOnly"`
	// CheapUsage: Usage of an active snapshot is O(1).
	CheapUsage bool `json:"cheapUsage"`
	// Inodes: Usage counts inodes (block snapshots cannot without a mount).
	Inodes bool `json:"inodes"`
	// BlockDevice: the mounts name a block device, as VM runtimes want.
	BlockDevice bool `json:"blockDevice"`
	// Overlay: the mounts are overlay mounts, so that whiteouts are char
	// devices 0/0 and parentless Prepares still take whiteouts.
	Overlay bool `json:"overlay"`
	// DirectoryRename: a directory of a lower layer can be renamed with
	// plain rename(2); overlay answers EXDEV unless redirect_dir is on.
	DirectoryRename bool `json:"directoryRename"`
}

// Stanza lists the capabilities under containerd's own names, for the
// `capabilities` key of a [proxy_plugins] entry.
func (c Capabilities) Stanza() []string {
	var names []string
	if c.RemapIDs {
		names = append(names, "remap-ids")
	}
	if c.Rebase {
		names = append(names, "rebase")
	}
	return names
}
