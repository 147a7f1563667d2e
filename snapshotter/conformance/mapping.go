package conformance

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter"
)

func maps(c snapshotter.Capabilities) bool { return c.RemapIDs }

var mappingCases = []Case{
	{Name: "id mapping shifts the owners", When: maps, Run: on(mapShift)},
	{Name: "id mapping of a view shifts the owners", When: maps, Run: on(mapView)},
	{Name: "id mapping leaves the layers unshifted", When: maps, Run: on(mapShared)},
	{Name: "id mapping cannot change later", When: maps, Run: on(mapFixed)},
	{Name: "id mapping is refused", When: func(c snapshotter.Capabilities) bool { return !c.RemapIDs }, Run: on(mapRefused)},
	{Name: "id mapping that is none is refused", Run: on(mapInvalid)},
}

const (
	mappedUID = 100_000
	mappedGID = 200_000
)

func mapping() snapshots.Opt {
	return snapshots.WithLabels(map[string]string{
		snapshots.LabelSnapshotUIDMapping: fmt.Sprintf("0:%d:65536", mappedUID),
		snapshots.LabelSnapshotGIDMapping: fmt.Sprintf("0:%d:65536", mappedGID),
	})
}

func (r *run) owner(path string, uid, gid uint32) {
	r.Helper()
	var st unix.Stat_t
	r.must(unix.Lstat(path, &st), "stat")
	if st.Uid != uid || st.Gid != gid {
		r.Errorf("%s belongs to %d:%d, want %d:%d", filepath.Base(path), st.Uid, st.Gid, uid, gid)
	}
}

func ownedLayers(r *run) {
	r.Helper()
	r.layer("base", "", func(dir string) {
		r.write(dir, "root", "x")
		r.write(dir, "user", "y")
		r.must(os.Chown(filepath.Join(dir, "user"), 1000, 1001), "chown")
	})
	r.layer("top", "base", func(dir string) { r.write(dir, "upper", "z") })
}

func shifted(r *run, dir string) {
	r.Helper()
	r.owner(dir, mappedUID, mappedGID)
	r.owner(filepath.Join(dir, "root"), mappedUID, mappedGID)
	r.owner(filepath.Join(dir, "user"), mappedUID+1000, mappedGID+1001)
}

func mapShift(r *run) {
	ownedLayers(r)
	for _, parent := range []string{"base", "top"} {
		r.mounted(r.prepare("a-"+parent, parent, mapping()), func(dir string) {
			shifted(r, dir)
			// Copy-up keeps the owner that showed.
			r.must(os.Chmod(filepath.Join(dir, "user"), 0o600), "copy-up")
			r.owner(filepath.Join(dir, "user"), mappedUID+1000, mappedGID+1001)
		})
	}
	r.mounted(r.prepare("a", "", mapping()), func(dir string) { r.owner(dir, mappedUID, mappedGID) })
}

func mapView(r *run) {
	ownedLayers(r)
	for _, parent := range []string{"base", "top"} {
		r.look(parent, func(dir string) { shifted(r, dir) }, mapping())
	}
}

func mapShared(r *run) {
	ownedLayers(r)
	r.mounted(r.prepare("mapped", "top", mapping()), func(string) {
		r.mounted(r.prepare("plain", "top"), func(dir string) {
			r.owner(filepath.Join(dir, "root"), 0, 0)
			r.owner(filepath.Join(dir, "user"), 1000, 1001)
		})
	})
}

func mapFixed(r *run) {
	r.prepare("a", "", mapping())
	_, err := r.sn.Update(r.ctx, snapshots.Info{Name: "a", Labels: map[string]string{
		snapshots.LabelSnapshotUIDMapping: "0:5:10", snapshots.LabelSnapshotGIDMapping: "0:5:10",
	}})
	r.refused(err, errdefs.IsInvalidArgument, "Update of an id mapping", "InvalidArgument")
	_, err = r.sn.Update(r.ctx, snapshots.Info{Name: "a", Labels: map[string]string{"other": "x"}}, "labels.other")
	r.must(err, "Update of another label")
}

func mapRefused(r *run) {
	_, err := r.sn.Prepare(r.ctx, "a", "", mapping())
	r.refused(err, errdefs.IsNotImplemented, "Prepare with an id mapping", "NotImplemented")
}

func mapInvalid(r *run) {
	uid, gid := snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping
	for _, labels := range []map[string]string{
		{uid: "0:1:1"}, {gid: "0:1:1"}, {uid: "0:1:1", gid: ""}, {uid: "x", gid: "0:1:1"},
		{uid: "0:1", gid: "0:1:1"}, {uid: "0:1:0", gid: "0:1:1"}, {uid: "0:1:-1", gid: "0:1:1"},
		{uid: "1:1:1", gid: "0:1:1"}, {uid: "0:1:5,3:9:1", gid: "0:1:1"}, {uid: "0:4294967290:100", gid: "0:1:1"},
	} {
		_, err := r.sn.Prepare(r.ctx, "a", "", snapshots.WithLabels(labels))
		r.refused(err, errdefs.IsInvalidArgument, fmt.Sprintf("Prepare with %v", labels), "InvalidArgument")
	}
}
