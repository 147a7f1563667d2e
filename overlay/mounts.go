package overlay

import (
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/snapshotter/labels"
)

// spec is what decides a snapshot's mounts: pure data.
type spec struct {
	layout  layout
	kind    snapshots.Kind
	id      string
	parents []string // nearest first
	ids     *labels.IDMap
	options []string // of every overlay mount
}

// mounts turns a spec into what the consumer mounts.
//
//   - An active snapshot is always an overlay mount, also without a parent:
//     whiteouts that are unpacked into it are whiteouts only there.
//     containerd's parallel unpack prepares every layer without a parent,
//     and mends a bind mount only for the plug-in called "overlayfs"
//     (containerd #13030).
//   - A View is a read-only bind mount where one directory shows it all, and
//     a read-only overlay otherwise. With an id mapping it is an overlay in
//     any case: containerd's mount leaves the mapping of a read-only bind
//     mount out.
func (s spec) mounts() []mount.Mount {
	lower := make([]string, 0, len(s.parents)+2)
	for _, id := range s.parents {
		lower = append(lower, s.layout.layer(id))
	}
	if s.kind == snapshots.KindView {
		if len(lower) == 0 {
			lower = append(lower, s.layout.blank())
		}
		if len(lower) == 1 && s.ids == nil {
			return []mount.Mount{{Type: "bind", Source: lower[0], Options: []string{"ro", "rbind"}}}
		}
		if len(lower) == 1 {
			// Overlay without an upper directory wants two lower ones.
			lower = append(lower, s.layout.bottom())
		}
		return s.overlay(lower, []string{"ro"})
	}
	if len(lower) == 0 {
		lower = append(lower, s.layout.bottom())
	}
	return s.overlay(lower, []string{
		"workdir=" + s.layout.work(s.id),
		"upperdir=" + s.layout.layer(s.id),
	})
}

func (s spec) overlay(lower, options []string) []mount.Mount {
	if s.ids != nil {
		options = append([]string{"uidmap=" + s.ids.FormatUIDs(), "gidmap=" + s.ids.FormatGIDs()}, options...)
	}
	options = append(options, "lowerdir="+strings.Join(lower, ":"))
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append(options, s.options...)}}
}
