// Package overlay measures varve-overlay against containerd's built-in
// overlayfs in two ways: both as plug-ins of one containerd, asked through its
// socket, as an orchestrator does; and both straight over a socket of their
// own, since containerd defers the driver's Remove to its garbage collector and
// would hide it.
//
// The rounds are interleaved and their order rotates, so that a slow moment of
// the machine falls on both. Where ours syncs a snapshot's data on Commit, the
// peer's client does what containerd's applier does with sync-fs on (syncfs of
// the upper directory), and its time counts as part of the peer's Commit.
package overlay

import (
	"context"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// Contender is one snapshotter under measure.
type Contender struct {
	// Name is the plug-in's name in containerd.
	Name string
	// Peer is how a result names it.
	Peer string
	// Sync: the client syncs the data before Commit, for the snapshotter does
	// not.
	Sync bool

	snapshots.Snapshotter
	// settle ends the work that the contender put off: containerd's garbage
	// collection, the driver's Cleanup.
	settle func(context.Context) error
}

// mounted is an active snapshot with what the driver said of it.
type mounted struct {
	key    string
	mounts []mount.Mount
}
