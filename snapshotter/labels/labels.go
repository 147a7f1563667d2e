// Package labels reads the snapshot labels that ask something of a
// snapshotter, as pure values: it looks at no kernel and no disk. Whether
// what they ask for can be served is the driver's to say.
//
// The names and forms are containerd's (core/snapshots/snapshotter.go).
package labels

import (
	"fmt"
	"strconv"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// Upperdir is the label in which containerd's overlay snapshotter, and ours
// when told to, reports where a snapshot's own files are. It is an answer,
// never a request: one that a client sends along is dropped.
const Upperdir = "containerd.io/snapshot/overlay.upperdir"

// Request is what the labels of one snapshot ask for.
type Request struct {
	// IDs is nil unless a mapping is asked for.
	IDs *IDMap
	// MaxSize is the limit in bytes for what the snapshot may hold of its
	// own, 0 for none.
	MaxSize int64
}

// Parse reads the labels. The error wraps errdefs.ErrInvalidArgument and
// names label and value; labels that ask nothing of a snapshotter are left
// alone.
func Parse(labels map[string]string) (Request, error) {
	var r Request
	if v, ok := labels[snapshots.LabelSnapshotMaxSize]; ok {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n <= 0 {
			return Request{}, bad(snapshots.LabelSnapshotMaxSize, v, "want a positive number of bytes, digits only")
		}
		r.MaxSize = n
	}
	uid, hasUID := labels[snapshots.LabelSnapshotUIDMapping]
	gid, hasGID := labels[snapshots.LabelSnapshotGIDMapping]
	switch {
	case !hasUID && !hasGID:
		return r, nil
	case !hasGID:
		return Request{}, bad(snapshots.LabelSnapshotUIDMapping, uid, "it needs "+snapshots.LabelSnapshotGIDMapping+" beside it; set both")
	case !hasUID:
		return Request{}, bad(snapshots.LabelSnapshotGIDMapping, gid, "it needs "+snapshots.LabelSnapshotUIDMapping+" beside it; set both")
	}
	ids := &IDMap{}
	var err error
	if ids.UIDs, err = parseMappings(uid); err != nil {
		return Request{}, bad(snapshots.LabelSnapshotUIDMapping, uid, err.Error())
	}
	if ids.GIDs, err = parseMappings(gid); err != nil {
		return Request{}, bad(snapshots.LabelSnapshotGIDMapping, gid, err.Error())
	}
	r.IDs = ids
	return r, nil
}

func bad(label, value, why string) error {
	return fmt.Errorf("label %s=%q: %s: %w", label, value, why, errdefs.ErrInvalidArgument)
}
