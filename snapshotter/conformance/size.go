package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter"
)

func limits(c snapshotter.Capabilities) bool { return c.MaxSize }

var sizeCases = []Case{
	{Name: "max-size is enforced", When: limits, Run: on(sizeEnforced)},
	{Name: "max-size leaves renames and copy-ups alone", When: limits, Run: on(sizeRename)},
	{Name: "max-size can be raised", When: limits, Run: on(sizeRaised)},
	{Name: "max-size below the parent's is refused", When: func(c snapshotter.Capabilities) bool { return c.GrowOnly }, Run: on(sizeShrunk)},
	{Name: "max-size is refused where it cannot be enforced", When: func(c snapshotter.Capabilities) bool { return !c.MaxSize }, Run: on(sizeRefused)},
	{Name: "max-size that is no size is refused", Run: on(sizeInvalid)},
}

func maxSize(bytes int) snapshots.Opt {
	return label(snapshots.LabelSnapshotMaxSize, fmt.Sprint(bytes))
}

func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// pour writes until bytes are written or the file system says no.
func pour(path string, bytes int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, mib)
	for range bytes / mib {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Sync()
}

// limit is generous: a block snapshot's file system takes a part of it.
func (r *run) limit() int {
	if r.Limit > 0 {
		return r.Limit
	}
	return 64 * mib
}

// below makes the options of a layer that snapshots with a limit are to stand
// on: where file systems only grow, it has to be as small itself.
func (r *run) below() []snapshots.Opt {
	if r.Capabilities.GrowOnly {
		return []snapshots.Opt{maxSize(r.limit())}
	}
	return nil
}

func sizeEnforced(r *run) {
	limit := r.limit()
	r.layer("base", "", func(dir string) { r.fill(dir, "big", 16*mib) }, r.below()...)
	r.mounted(r.prepare("a", "base", maxSize(limit)), func(dir string) {
		r.must(pour(filepath.Join(dir, "half"), limit/2), "write half the limit")
		if err := pour(filepath.Join(dir, "more"), limit); !full(err) {
			r.Errorf("write beyond max-size: %v, want ENOSPC or EDQUOT", err)
		}
	})
	r.mounted(r.prepare("free", "base"), func(dir string) {
		r.must(pour(filepath.Join(dir, "f"), 2*limit), "write without a limit beside a limited snapshot")
	})
}

func sizeRename(r *run) {
	r.layer("base", "", func(dir string) {
		r.must(os.Mkdir(filepath.Join(dir, "d"), 0o755), "mkdir")
		r.write(dir, "d/f", "x")
	}, r.below()...)
	r.mounted(r.prepare("a", "base", maxSize(r.limit())), func(dir string) {
		r.must(os.Chmod(filepath.Join(dir, "d/f"), 0o600), "copy-up")
		r.must(os.Rename(filepath.Join(dir, "d/f"), filepath.Join(dir, "f")), "rename")
		r.holds(dir, "f", "x")
	})
	r.remove("a")
	r.cleanup()
}

func sizeRaised(r *run) {
	limit := r.limit()
	r.mounted(r.prepare("a", "", maxSize(limit)), func(dir string) {
		if err := pour(filepath.Join(dir, "f"), 2*limit); !full(err) {
			r.Fatalf("write beyond max-size: %v, want ENOSPC or EDQUOT", err)
		}
		_, err := r.sn.Update(r.ctx, snapshots.Info{
			Name: "a", Labels: map[string]string{snapshots.LabelSnapshotMaxSize: fmt.Sprint(4 * limit)},
		}, "labels."+snapshots.LabelSnapshotMaxSize)
		r.must(err, "Update")
		r.must(pour(filepath.Join(dir, "f"), 2*limit), "write below the raised limit")
	})
}

// sizeShrunk: a file system on a block device does not shrink, and a limit that
// nothing keeps must not be taken.
func sizeShrunk(r *run) {
	r.layer("base", "", func(dir string) { r.write(dir, "f", "x") }, maxSize(2*r.limit()))
	_, err := r.sn.Prepare(r.ctx, "a", "base", maxSize(r.limit()))
	r.refused(err, errdefs.IsInvalidArgument, "Prepare with a max-size below the parent's", "InvalidArgument")
	_, err = r.sn.Stat(r.ctx, "a")
	r.refused(err, errdefs.IsNotFound, "Stat of what was refused", "NotFound")
	r.mounted(r.prepare("b", "base", maxSize(3*r.limit())), func(dir string) {
		r.holds(dir, "f", "x")
		r.must(pour(filepath.Join(dir, "g"), 2*r.limit()), "write more than the parent's size")
	})
	_, err = r.sn.Update(r.ctx, snapshots.Info{
		Name: "b", Labels: map[string]string{snapshots.LabelSnapshotMaxSize: fmt.Sprint(r.limit())},
	})
	r.refused(err, errdefs.IsInvalidArgument, "Update to a smaller max-size", "InvalidArgument")
}

func sizeRefused(r *run) {
	limit := r.limit()
	_, err := r.sn.Prepare(r.ctx, "a", "", maxSize(limit))
	r.refused(err, errdefs.IsNotImplemented, "Prepare with max-size", "NotImplemented")
	_, err = r.sn.Stat(r.ctx, "a")
	r.refused(err, errdefs.IsNotFound, "Stat of what was refused", "NotFound")
	r.prepare("b", "")
	_, err = r.sn.Update(r.ctx, snapshots.Info{
		Name: "b", Labels: map[string]string{snapshots.LabelSnapshotMaxSize: fmt.Sprint(limit)},
	})
	r.refused(err, errdefs.IsNotImplemented, "Update with max-size", "NotImplemented")
}

func sizeInvalid(r *run) {
	for _, value := range []string{"", "0", "-1", "ten", "10G", "1e9", "99999999999999999999"} {
		_, err := r.sn.Prepare(r.ctx, "a", "", label(snapshots.LabelSnapshotMaxSize, value))
		r.refused(err, errdefs.IsInvalidArgument, fmt.Sprintf("Prepare with max-size %q", value), "InvalidArgument")
	}
}
