package conformance

import (
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter"
)

func rebases(c snapshotter.Capabilities) bool { return c.Rebase }

var rebaseCases = []Case{
	{Name: "rebase puts a layer on its parent", When: rebases, Run: on(rebase)},
	{Name: "rebase keeps the parent's top directory", When: rebases, Run: on(rebaseTop)},
	{Name: "rebase onto an absent parent changes nothing", When: rebases, Run: on(rebaseAbsent)},
	{Name: "commit cannot change a parent", Run: on(rebaseOther)},
	{Name: "rebase is refused", When: func(c snapshotter.Capabilities) bool { return !c.Rebase }, Run: on(rebaseRefused)},
}

// rebase: what was prepared without a parent and committed onto one deletes
// and covers the parent's files.
func rebase(r *run) {
	r.layer("base", "", func(dir string) {
		r.write(dir, "kept", "base")
		r.write(dir, "changed", "base")
		r.write(dir, "deleted", "base")
	})
	m := r.prepare("a", "")
	r.mounted(m, func(dir string) { r.write(dir, "changed", "top") })
	// A whiteout as an unpacker leaves it in the layer's own directory.
	for _, own := range ownDirs(m) {
		r.must(unix.Mknod(filepath.Join(own, "deleted"), unix.S_IFCHR, 0), "whiteout")
	}
	r.commit("top", "a", snapshots.WithParent("base"))
	info, err := r.sn.Stat(r.ctx, "top")
	r.must(err, "Stat")
	if info.Parent != "base" {
		r.Fatalf("the parent after a rebase is %q, want base", info.Parent)
	}
	r.look("top", func(dir string) {
		r.holds(dir, "kept", "base")
		r.holds(dir, "changed", "top")
		r.lacks(dir, "deleted")
	})
	r.refused(r.sn.Remove(r.ctx, "base"), errdefs.IsFailedPrecondition, "Remove of the new parent", "FailedPrecondition")
}

func rebaseTop(r *run) {
	r.layer("base", "", func(dir string) { r.must(os.Chmod(dir, 0o711), "chmod") })
	r.mounted(r.prepare("a", ""), func(dir string) { r.write(dir, "f", "x") })
	r.commit("top", "a", snapshots.WithParent("base"))
	r.look("top", func(dir string) {
		st, err := os.Stat(dir)
		r.must(err, "stat")
		if st.Mode().Perm() != 0o711 {
			r.Errorf("the top directory has mode %o after a rebase onto one of 711", st.Mode().Perm())
		}
	})
}

func rebaseAbsent(r *run) {
	r.mounted(r.prepare("a", ""), func(dir string) { r.write(dir, "f", "x") })
	err := r.sn.Commit(r.ctx, "top", "a", snapshots.WithParent("no"))
	r.refused(err, errdefs.IsNotFound, "Commit onto an absent parent", "NotFound")
	r.commit("top", "a")
	r.look("top", func(dir string) { r.holds(dir, "f", "x") })
}

func rebaseOther(r *run) {
	r.layer("one", "", func(dir string) { r.write(dir, "f", "one") })
	r.layer("two", "", func(dir string) { r.write(dir, "f", "two") })
	r.prepare("a", "one")
	err := r.sn.Commit(r.ctx, "c", "a", snapshots.WithParent("two"))
	r.refused(err, errdefs.IsInvalidArgument, "Commit of a child of one onto two", "InvalidArgument")
	r.commit("c", "a", snapshots.WithParent("one"))
	r.look("c", func(dir string) { r.holds(dir, "f", "one") })
}

func rebaseRefused(r *run) {
	r.layer("base", "", func(string) {})
	r.prepare("a", "")
	if err := r.sn.Commit(r.ctx, "c", "a", snapshots.WithParent("base")); err == nil {
		r.Fatalf("a rebase succeeded that the capabilities deny")
	}
	_, err := r.sn.Stat(r.ctx, "a")
	r.must(err, "Stat of what was not committed")
}
