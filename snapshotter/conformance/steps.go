package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"
)

// must ends the case when err is not nil.
func (r *run) must(err error, what string) {
	r.Helper()
	if err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

// refused ends the case unless err is of the kind that is tells.
func (r *run) refused(err error, is func(error) bool, what, kind string) {
	r.Helper()
	if err == nil {
		r.Fatalf("%s: succeeded, want %s", what, kind)
	}
	if !is(err) {
		r.Fatalf("%s: %v, want %s", what, err, kind)
	}
}

func (r *run) prepare(key, parent string, opts ...snapshots.Opt) []mount.Mount {
	r.Helper()
	m, err := r.sn.Prepare(r.ctx, key, parent, opts...)
	r.must(err, "Prepare "+key)
	return m
}

func (r *run) commit(name, key string, opts ...snapshots.Opt) {
	r.Helper()
	r.must(r.sn.Commit(r.ctx, name, key, opts...), "Commit "+key)
}

func (r *run) remove(key string) {
	r.Helper()
	r.must(r.sn.Remove(r.ctx, key), "Remove "+key)
}

func (r *run) usage(key string) snapshots.Usage {
	r.Helper()
	u, err := r.sn.Usage(r.ctx, key)
	r.must(err, "Usage "+key)
	return u
}

func (r *run) cleanup() {
	r.Helper()
	r.must(r.sn.(snapshots.Cleaner).Cleanup(r.ctx), "Cleanup")
}

// mounted mounts, calls fn with the directory, and unmounts.
func (r *run) mounted(mounts []mount.Mount, fn func(dir string)) {
	r.Helper()
	dir, err := os.MkdirTemp("", "conformance-")
	r.must(err, "temporary directory")
	defer func() { _ = os.Remove(dir) }()
	r.must(mount.All(mounts, dir), "mount")
	defer func() {
		r.Helper()
		if err := unmount(dir); err != nil {
			r.Errorf("unmount: %v", err)
		}
	}()
	fn(dir)
}

// unmount waits a little for a file system that something still looks at.
func unmount(dir string) (err error) {
	for range 100 {
		if err = mount.UnmountAll(dir, 0); !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH))
}

// layer makes the committed snapshot name on parent, filled by fill.
func (r *run) layer(name, parent string, fill func(dir string), opts ...snapshots.Opt) {
	r.Helper()
	key := name + "-active"
	r.mounted(r.prepare(key, parent, opts...), fill)
	r.commit(name, key, opts...)
}

// look shows the committed snapshot name through a View.
func (r *run) look(name string, fn func(dir string), opts ...snapshots.Opt) {
	r.Helper()
	key := name + "-view"
	m, err := r.sn.View(r.ctx, key, name, opts...)
	r.must(err, "View "+name)
	r.mounted(m, fn)
	r.remove(key)
}

func (r *run) write(dir, name, content string) {
	r.Helper()
	r.must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644), "write "+name)
}

// holds fails the case unless the file has the content.
func (r *run) holds(dir, name, content string) {
	r.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		r.Errorf("%q: %v, want %q", name, err, content)
	} else if string(got) != content {
		r.Errorf("%q holds %.40q, want %.40q", name, got, content)
	}
}

// lacks fails the case when there is such a file.
func (r *run) lacks(dir, name string) {
	r.Helper()
	if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
		r.Errorf("%q is there; it was deleted", name)
	}
}

func label(key, value string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{key: value})
}
