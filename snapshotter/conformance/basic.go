package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter"
)

var basicCases = []Case{
	{Name: "empty store lists nothing", Run: on(emptyStore)},
	{Name: "absent snapshot is NotFound", Run: on(absent)},
	{Name: "bad keys are refused", Run: on(badKeys)},
	{Name: "prepare on what is not committed is refused", Run: on(badParents)},
	{Name: "commit onto an existing name is refused", Run: on(commitTwice)},
	{Name: "parent with child is in use", Run: on(parentInUse)},
	{Name: "mounted snapshot is in use", Run: on(mountedInUse)},
	{Name: "removed key is free at once", Run: on(reuse)},
	{Name: "view is read-only", Run: on(viewReadOnly)},
	{Name: "mounts are the same again", Run: on(sameMounts)},
	{Name: "top directory is the parent's", Run: on(topDirectory)},
	{Name: "mounts name a block device", When: func(c snapshotter.Capabilities) bool { return c.BlockDevice }, Run: on(blockDevice)},
}

func emptyStore(r *run) {
	seen := 0
	err := r.sn.Walk(r.ctx, func(context.Context, snapshots.Info) error { seen++; return nil })
	r.must(err, "List of an empty store")
	if seen != 0 {
		r.Fatalf("an empty store lists %d snapshots", seen)
	}
}

func absent(r *run) {
	calls := map[string]func() error{
		"Stat":    func() error { _, err := r.sn.Stat(r.ctx, "no"); return err },
		"Mounts":  func() error { _, err := r.sn.Mounts(r.ctx, "no"); return err },
		"Usage":   func() error { _, err := r.sn.Usage(r.ctx, "no"); return err },
		"Update":  func() error { _, err := r.sn.Update(r.ctx, snapshots.Info{Name: "no"}); return err },
		"Commit":  func() error { return r.sn.Commit(r.ctx, "c", "no") },
		"Remove":  func() error { return r.sn.Remove(r.ctx, "no") },
		"Prepare": func() error { _, err := r.sn.Prepare(r.ctx, "p", "no"); return err },
		"View":    func() error { _, err := r.sn.View(r.ctx, "v", "no"); return err },
	}
	for _, when := range []string{"in an empty store", "beside another"} {
		for call, fn := range calls {
			r.refused(fn(), errdefs.IsNotFound, call+" of an absent snapshot "+when, "NotFound")
		}
		if when == "in an empty store" {
			r.prepare("other", "")
		}
	}
}

func badKeys(r *run) {
	for what, key := range map[string]string{"empty": "", "endless": strings.Repeat("k", 40_000)} {
		_, err := r.sn.Prepare(r.ctx, key, "")
		r.refused(err, errdefs.IsInvalidArgument, "Prepare of an "+what+" key", "InvalidArgument")
		_, err = r.sn.View(r.ctx, key, "")
		r.refused(err, errdefs.IsInvalidArgument, "View of an "+what+" key", "InvalidArgument")
		if what == "empty" {
			r.prepare("a", "")
		}
		r.refused(r.sn.Commit(r.ctx, key, "a"), errdefs.IsInvalidArgument, "Commit to an "+what+" name", "InvalidArgument")
	}
}

func badParents(r *run) {
	r.prepare("active", "")
	_, err := r.sn.Prepare(r.ctx, "child", "active")
	r.refused(err, errdefs.IsInvalidArgument, "Prepare on an active snapshot", "InvalidArgument")
	_, err = r.sn.Stat(r.ctx, "child")
	r.refused(err, errdefs.IsNotFound, "Stat of what was refused", "NotFound")
	_, err = r.sn.View(r.ctx, "active-view", "")
	r.must(err, "View")
	r.refused(r.sn.Commit(r.ctx, "c", "active-view"), errdefs.IsFailedPrecondition, "Commit of a View", "FailedPrecondition")
}

func commitTwice(r *run) {
	r.layer("name", "", func(dir string) { r.write(dir, "f", "first") })
	m := r.prepare("second", "")
	r.mounted(m, func(dir string) { r.write(dir, "f", "second") })
	r.refused(r.sn.Commit(r.ctx, "name", "second"), errdefs.IsAlreadyExists, "Commit onto an existing name", "AlreadyExists")
	r.commit("other", "second")
	r.look("name", func(dir string) { r.holds(dir, "f", "first") })
	r.look("other", func(dir string) { r.holds(dir, "f", "second") })
}

func parentInUse(r *run) {
	r.layer("parent", "", func(string) {})
	r.prepare("child", "parent")
	r.refused(r.sn.Remove(r.ctx, "parent"), errdefs.IsFailedPrecondition, "Remove of a parent", "FailedPrecondition")
	r.remove("child")
	r.remove("parent")
}

func mountedInUse(r *run) {
	r.mounted(r.prepare("a", ""), func(dir string) {
		r.write(dir, "f", "precious")
		r.refused(r.sn.Remove(r.ctx, "a"), errdefs.IsFailedPrecondition, "Remove of a mounted snapshot", "FailedPrecondition")
		r.holds(dir, "f", "precious")
	})
	r.remove("a")
}

func reuse(r *run) {
	for range 5 {
		r.mounted(r.prepare("same", ""), func(dir string) {
			r.lacks(dir, "f")
			r.write(dir, "f", "x")
		})
		r.remove("same")
	}
}

func viewReadOnly(r *run) {
	r.layer("base", "", func(dir string) { r.write(dir, "f", "x") })
	r.layer("top", "base", func(dir string) { r.write(dir, "g", "y") })
	for _, parent := range []string{"", "base", "top"} {
		m, err := r.sn.View(r.ctx, "v"+parent, parent)
		r.must(err, "View")
		r.mounted(m, func(dir string) {
			err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644)
			if !errors.Is(err, unix.EROFS) {
				r.Errorf("write into a View of %q: %v, want EROFS", parent, err)
			}
			if parent == "top" {
				r.holds(dir, "f", "x")
			}
		})
	}
}

func sameMounts(r *run) {
	r.layer("base", "", func(string) {})
	first := r.prepare("a", "base")
	again, err := r.sn.Mounts(r.ctx, "a")
	r.must(err, "Mounts")
	if len(first) != len(again) {
		r.Fatalf("Prepare gave %v, Mounts gives %v", first, again)
	}
	for i := range first {
		if first[i].Type != again[i].Type || first[i].Source != again[i].Source ||
			strings.Join(first[i].Options, ",") != strings.Join(again[i].Options, ",") {
			r.Errorf("Prepare gave %v, Mounts gives %v", first[i], again[i])
		}
	}
	_, err = r.sn.Mounts(r.ctx, "base")
	r.refused(err, errdefs.IsFailedPrecondition, "Mounts of a committed snapshot", "FailedPrecondition")
}

// topDirectory: mode and owner of a layer's top directory show in what is
// built on it.
func topDirectory(r *run) {
	r.layer("base", "", func(dir string) {
		r.must(os.Chown(dir, 12, 34), "chown")
		r.must(os.Chmod(dir, 0o750), "chmod")
	})
	r.layer("next", "base", func(dir string) { r.write(dir, "f", "x") })
	r.look("next", func(dir string) {
		var st unix.Stat_t
		r.must(unix.Lstat(dir, &st), "stat")
		if st.Mode&0o7777 != 0o750 || st.Uid != 12 || st.Gid != 34 {
			r.Errorf("the top directory has mode %o of %d:%d, want 750 of 12:34", st.Mode&0o7777, st.Uid, st.Gid)
		}
	})
}

func blockDevice(r *run) {
	for _, m := range r.prepare("a", "") {
		st, err := os.Stat(m.Source)
		r.must(err, "source "+m.Source)
		if st.Mode()&os.ModeDevice == 0 {
			r.Errorf("source %s is no block device", m.Source)
		}
	}
}
