// Package conformance is our own suite for snapshotters, beside containerd's
// core/snapshots/testsuite: it tests what that leaves out (Usage, Cleanup,
// rebase, size limits, id mappings, labels, strange content, clients that
// misbehave) and drives the subject through its socket only.
//
// Which cases run follows from the capability matrix. A capability that is
// missing does not skip a case, it chooses another: what cannot be served
// must be refused, and the suite checks that as well.
//
// The suite itself is tested by planting a fault for every case
// (overlay/planted_test.go): a case that no fault can fail proves nothing.
package conformance

import (
	"context"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/snapshotter"
)

// Subject is a snapshotter under test, fresh and empty, behind a socket.
type Subject struct {
	// Conn is a connection to the daemon; the factory closes it.
	Conn *grpc.ClientConn
	// Address is the socket, for clients that a case makes itself.
	Address string
	// Capabilities is the matrix that the daemon claims.
	Capabilities snapshotter.Capabilities
	// Held counts what the subject holds on disk or pool for snapshots, in
	// any unit: it is compared with itself after everything was removed.
	Held func(t testing.TB) int64
	// Limit is the max-size in bytes that the size cases set; 0 is 64 MiB.
	Limit int
	// Patience is how long a call may take before it counts as stuck; 0 is
	// 20 seconds.
	Patience time.Duration
}

// Factory makes a subject; it registers its own end with t.Cleanup.
type Factory func(t testing.TB) *Subject

// Case is one property.
type Case struct {
	Name string
	// When tells whether the case is about such a snapshotter; nil is any.
	When func(snapshotter.Capabilities) bool
	Run  func(t testing.TB, s *Subject)
}

// Run runs every case that the capabilities choose, each on its own subject.
func Run(t *testing.T, able snapshotter.Capabilities, make Factory) {
	for _, c := range Cases() {
		if c.When != nil && !c.When(able) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, make(t))
		})
	}
}

// Cases lists all cases.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		basicCases, usageCases, cleanupCases, rebaseCases, unpackCases, sizeCases, mappingCases,
		labelCases, layerCases, contentCases, raceCases, clientCases,
	} {
		all = append(all, group...)
	}
	return all
}

// name is the plug-in's name in requests. It is not "overlayfs", for
// containerd mends things for the plug-in of that name only.
const name = "varve-conformance"

// run is one case on its way.
type run struct {
	testing.TB
	*Subject
	ctx context.Context
	sn  snapshots.Snapshotter
}

// on adapts a case's body.
func on(body func(r *run)) func(t testing.TB, s *Subject) {
	return func(t testing.TB, s *Subject) {
		ctx, cancel := context.WithCancel(namespaces.WithNamespace(context.Background(), "conformance"))
		defer cancel()
		body(&run{TB: t, Subject: s, ctx: ctx, sn: proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(s.Conn), name)})
	}
}
