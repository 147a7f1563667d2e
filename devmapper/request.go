package devmapper

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/snapshotter/labels"
	"github.com/varve-project/varve/snapshotter/limits"
)

// LabelFSType is containerd's devmapper label that names the file system of a
// snapshot.
const LabelFSType = "containerd.io/snapshot/devmapper/fstype"

// request is what a call's labels ask for.
type request struct {
	labels.Request
	fsType string // "" asks for none
}

// gather gathers a call's options and refuses labels that cannot be served.
func (d *Driver) gather(opts []snapshots.Opt) (info snapshots.Info, r request, err error) {
	for _, o := range opts {
		if err := o(&info); err != nil {
			return info, r, err
		}
	}
	if err := limits.Labels(info.Labels); err != nil {
		return info, r, err
	}
	r, err = d.parse(info.Labels)
	return info, r, err
}

func (d *Driver) parse(given map[string]string) (r request, err error) {
	if r.Request, err = labels.Parse(given); err != nil {
		return r, err
	}
	if r.IDs != nil {
		if err := d.idmapped.Err(); err != nil {
			return r, fmt.Errorf("label %s=%q: %w", snapshots.LabelSnapshotUIDMapping, r.IDs.FormatUIDs(), err)
		}
	}
	if v, ok := given[LabelFSType]; ok {
		if format.Smallest(v) == 0 {
			return r, fmt.Errorf("label %s=%q: want one of %s: %w", LabelFSType, v, strings.Join(format.Types(), ", "), errdefs.ErrInvalidArgument)
		}
		r.fsType = v
	}
	return r, nil
}

// mustBe refuses a label that names another file system than the snapshot
// has.
func (r request) mustBe(fsType, of string) error {
	if r.fsType == "" || r.fsType == fsType {
		return nil
	}
	return fmt.Errorf("label %s=%q: %s has %s, and a snapshot has its parent's file system; leave the label out: %w",
		LabelFSType, r.fsType, of, fsType, errdefs.ErrInvalidArgument)
}

// size is how large the file system of a new snapshot is to be, in bytes;
// have is the parent's, 0 without one.
func (d *Driver) size(kind snapshots.Kind, r request, fsType string, have int64) (int64, error) {
	if kind == snapshots.KindView && have > 0 {
		return have, nil // nothing is written to it
	}
	want := int64(d.config.BaseSize)
	if r.MaxSize > 0 {
		want = r.MaxSize / granule * granule
	}
	least := format.Smallest(fsType)
	switch {
	case r.MaxSize > 0 && want < have:
		return 0, fmt.Errorf("label %s=%d: the parent's file system has %d bytes, and a file system on a block device does not shrink; take that or more, or unpack the image with a smaller base_size: %w",
			snapshots.LabelSnapshotMaxSize, r.MaxSize, have, errdefs.ErrInvalidArgument)
	case r.MaxSize > 0 && want < least:
		return 0, fmt.Errorf("label %s=%d: an %s takes %d bytes at least: %w",
			snapshots.LabelSnapshotMaxSize, r.MaxSize, fsType, least, errdefs.ErrInvalidArgument)
	}
	return max(want, have, least), nil
}

// parent is what a new snapshot is made of.
type parent struct {
	id     string // the store's number, "" without a parent
	device device
}

// look answers what can be answered without a change, in the order of
// storage.CreateSnapshot; ctx carries a transaction.
func look(ctx context.Context, key, name string) (p parent, err error) {
	if name != "" {
		id, info, _, err := storage.GetInfo(ctx, name)
		if err != nil {
			return p, fmt.Errorf("parent %q: %w", name, err)
		}
		if info.Kind != snapshots.KindCommitted {
			return p, fmt.Errorf("parent %q is not committed, it is %s; commit it first: %w",
				name, strings.ToLower(info.Kind.String()), errdefs.ErrInvalidArgument)
		}
		p.id = id
		if p.device, err = getDevice(ctx, id); err != nil {
			return p, fmt.Errorf("parent %q: %w", name, err)
		}
	}
	if _, _, _, err := storage.GetInfo(ctx, key); err == nil {
		return p, fmt.Errorf("it exists already: %w", errdefs.ErrAlreadyExists)
	}
	return p, nil
}
