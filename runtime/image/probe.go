package image

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/varve-project/varve/internal/failpoint"
)

// probePrefix begins the keys of probes in the snapshotter. A collection
// removes what a crash left of one.
const probePrefix = Namespace + "-probe/"

// rebases finds out whether layers may be unpacked in parallel: whether the
// snapshotter commits a snapshot on a parent that it was not prepared with,
// and whether a snapshot without parent takes whiteouts as overlay does. The
// snapshots API does not say, so it is tried, on two empty snapshots, once per
// open store and only when there is something to unpack in parallel.
//
// The second half matters: a rebase over bind mounts would work and silently
// bring deleted files back (containerd #13030).
func (s *Store) rebases(ctx context.Context) (bool, error) {
	s.probe.Lock()
	defer s.probe.Unlock()
	if s.probed {
		return s.canRebase, nil
	}
	ok, err := s.probeRebase(ctx)
	if err != nil {
		return false, fmt.Errorf("probe snapshotter %s for rebase: %w", s.opts.Snapshotter, err)
	}
	s.probed, s.canRebase = true, ok
	return ok, nil
}

func (s *Store) probeRebase(ctx context.Context) (bool, error) {
	pass, err := s.gate.pass()
	if err != nil {
		return false, err
	}
	defer func() { _ = pass.Release() }()
	base := probePrefix + uuid.NewString()
	parent, child := base+"/parent", base+"/child"
	keys := []string{child, base + "/b", parent, base + "/a"}
	failpoint.Hit("image.probe.snapshots.before")
	defer func() {
		for _, key := range keys {
			_ = s.backend.Remove(context.WithoutCancel(ctx), key)
		}
		failpoint.Hit("image.probe.snapshots.after")
	}()
	mounts, err := s.backend.Prepare(ctx, base+"/a", "")
	if err != nil {
		return false, err
	}
	if upper, _ := overlayDirs(mounts); upper == "" {
		return false, nil
	}
	if err := s.backend.Commit(ctx, parent, base+"/a"); err != nil {
		return false, err
	}
	if _, err := s.backend.Prepare(ctx, base+"/b", ""); err != nil {
		return false, err
	}
	err = s.backend.Commit(ctx, child, base+"/b", snapshots.WithParent(parent))
	if errdefs.IsInvalidArgument(err) || errdefs.IsNotImplemented(err) || errdefs.IsFailedPrecondition(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := s.backend.Stat(ctx, child)
	if err != nil {
		return false, err
	}
	// A snapshotter that has never heard of rebase ignores the parent.
	return info.Parent == parent, nil
}
