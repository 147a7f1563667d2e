// Package devmapper measures varve-devmapper against containerd's built-in
// devmapper snapshotter, in a virtual machine: each on a thin pool of its own,
// equal in chunk, length and features, on disks of its own, equal in size; each
// behind a socket of its own, asked by the same client. Rounds are
// interleaved and their order rotates, so that a slow moment of the machine
// falls on both.
//
// It owns the virtual machine and nothing outside of it but the results.
//
// A machine without KVM emulates, and starting a program is dear there, which
// flatters whoever starts none. So the programs, syncs and ioctls of each call
// are counted too, by the kernel.
package devmapper

import (
	"context"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// Contender is one snapshotter under measure.
type Contender struct {
	// Name is in what is printed during the run.
	Name string
	// Peer is how a result names it; empty is ours.
	Peer string
	// Pool is its pool's device-mapper name.
	Pool string

	snapshots.Snapshotter
}

// base is a committed snapshot that every contender has all the time.
const base = "base"

// cleanup ends what a Remove put off.
func (c Contender) cleanup(ctx context.Context) error {
	return c.Snapshotter.(snapshots.Cleaner).Cleanup(ctx)
}
