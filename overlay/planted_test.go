package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/conformance"
)

// TestPlantedFaults plants a fault for every case of the conformance suite
// and wants that case to fail: a case that nothing can fail proves nothing.
func TestPlantedFaults(t *testing.T) {
	needsRoot(t)
	for _, c := range conformance.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			plant, ok := faults[c.Name]
			if !ok {
				t.Fatal("no fault is planted for this case; add one to faults")
			}
			root := filepath.Join(t.TempDir(), "root")
			r := record(t, func(t testing.TB) {
				s := subjectAs(t, root, plant.streaming, func(d snapshotter.Driver) snapshotter.Driver {
					f := &faulty{Driver: d}
					if plant.fault != nil {
						plant.fault(f)
					}
					return f
				})
				s.Patience = time.Second
				c.Run(t, s)
			})
			if !r.failed {
				t.Fatal("the case passed although a fault was planted")
			}
			t.Logf("failed as it should: %s", r.first)
		})
	}
}

// recorder is a testing.TB that keeps a failure to itself.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed bool
	first  string
}

// record runs fn to its end or first fatal failure.
func record(t *testing.T, fn func(t testing.TB)) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(r)
	}()
	<-done
	return r
}

func (r *recorder) fail(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failed {
		r.failed, r.first = true, text
	}
}

func (r *recorder) Error(args ...any)            { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)) }
func (r *recorder) Fail()                        { r.fail("failed") }
func (r *recorder) FailNow()                     { r.fail("failed"); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)            { r.fail(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) {
	r.fail(fmt.Sprintf(f, args...))
	runtime.Goexit()
}
func (r *recorder) Failed() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.failed }

// faulty is a driver with hooks for faults; a nil hook changes nothing.
type faulty struct {
	snapshotter.Driver
	prepare func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error)
	view    func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error)
	mounts  func(ctx context.Context, key string) ([]mount.Mount, error)
	commit  func(ctx context.Context, name, key string, info snapshots.Info) error
	remove  func(ctx context.Context, key string) error
	usage   func(ctx context.Context, key string) (snapshots.Usage, error)
	update  func(ctx context.Context, info snapshots.Info, fields ...string) (snapshots.Info, error)
	walk    func(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error
	stat    func(ctx context.Context, key string) (snapshots.Info, error)
	cleanup func(ctx context.Context) error
}

func gather(opts []snapshots.Opt) (info snapshots.Info) {
	for _, o := range opts {
		_ = o(&info)
	}
	return info
}

func with(info snapshots.Info) snapshots.Opt {
	return func(i *snapshots.Info) error { i.Labels, i.Parent = info.Labels, info.Parent; return nil }
}

func (f *faulty) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	if f.prepare == nil {
		return f.Driver.Prepare(ctx, key, parent, opts...)
	}
	return f.prepare(ctx, key, parent, gather(opts))
}

func (f *faulty) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	if f.view == nil {
		return f.Driver.View(ctx, key, parent, opts...)
	}
	return f.view(ctx, key, parent, gather(opts))
}

func (f *faulty) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	if f.mounts == nil {
		return f.Driver.Mounts(ctx, key)
	}
	return f.mounts(ctx, key)
}

func (f *faulty) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if f.commit == nil {
		return f.Driver.Commit(ctx, name, key, opts...)
	}
	return f.commit(ctx, name, key, gather(opts))
}

func (f *faulty) Remove(ctx context.Context, key string) error {
	if f.remove == nil {
		return f.Driver.Remove(ctx, key)
	}
	return f.remove(ctx, key)
}

func (f *faulty) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	if f.usage == nil {
		return f.Driver.Usage(ctx, key)
	}
	return f.usage(ctx, key)
}

func (f *faulty) Update(ctx context.Context, info snapshots.Info, fields ...string) (snapshots.Info, error) {
	if f.update == nil {
		return f.Driver.Update(ctx, info, fields...)
	}
	return f.update(ctx, info, fields...)
}

func (f *faulty) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	if f.walk == nil {
		return f.Driver.Walk(ctx, fn, filters...)
	}
	return f.walk(ctx, fn, filters...)
}

func (f *faulty) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	if f.stat == nil {
		return f.Driver.Stat(ctx, key)
	}
	return f.stat(ctx, key)
}

func (f *faulty) Cleanup(ctx context.Context) error {
	if f.cleanup == nil {
		return f.Driver.Cleanup(ctx)
	}
	return f.cleanup(ctx)
}

// fault is what is planted for a case.
type fault struct {
	// fault changes the driver. Nil leaves it: the case is about a
	// snapshotter of another kind, and the fault is to pose as one.
	fault func(f *faulty)
	// streaming serves List as containerd's own service does, from within
	// the driver's Walk.
	streaming bool
}

func plant(fn func(f *faulty)) fault { return fault{fault: fn} }

var errPlanted = errors.New("planted")

// usageFault changes what Usage answers.
func usageFault(change func(f *faulty, key string, u *snapshots.Usage)) fault {
	return plant(func(f *faulty) {
		f.usage = func(ctx context.Context, key string) (snapshots.Usage, error) {
			u, err := f.Driver.Usage(ctx, key)
			change(f, key, &u)
			return u, err
		}
	})
}

// upperFault lets fn spoil a snapshot's own directory before it is
// committed.
func upperFault(fn func(upper string)) fault {
	return plant(func(f *faulty) {
		f.commit = func(ctx context.Context, name, key string, info snapshots.Info) error {
			if m, err := f.Driver.Mounts(ctx, key); err == nil {
				fn(upperOf(m))
			}
			return f.Driver.Commit(ctx, name, key, with(info))
		}
	})
}

func upperOf(mounts []mount.Mount) string {
	for _, o := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			return dir
		}
	}
	return mounts[0].Source
}

// mountFault changes the mounts of Prepare and View.
func mountFault(change func(m []mount.Mount) []mount.Mount) fault {
	return plant(func(f *faulty) {
		f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			m, err := f.Driver.Prepare(ctx, key, parent, with(info))
			if err != nil {
				return nil, err
			}
			return change(m), nil
		}
		f.view = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			m, err := f.Driver.View(ctx, key, parent, with(info))
			if err != nil {
				return nil, err
			}
			return change(m), nil
		}
	})
}

// option replaces or drops mount options that begin with prefix.
func option(prefix, replacement string) func(m []mount.Mount) []mount.Mount {
	return func(m []mount.Mount) []mount.Mount {
		for i := range m {
			var options []string
			for _, o := range m[i].Options {
				if !strings.HasPrefix(o, prefix) {
					options = append(options, o)
				} else if replacement != "" {
					options = append(options, replacement)
				}
			}
			m[i].Options = options
		}
		return m
	}
}

// bind gives an active snapshot without a parent as a bind mount, as
// containerd's own overlay snapshotter does.
func bind(m []mount.Mount) []mount.Mount {
	for _, o := range m[0].Options {
		if strings.HasPrefix(o, "lowerdir=") && strings.HasSuffix(o, "/bottom") && upperOf(m) != m[0].Source {
			return []mount.Mount{{Type: "bind", Source: upperOf(m), Options: []string{"rw", "rbind"}}}
		}
	}
	return m
}

// labelFault drops labels before the driver sees them: it ignores what they
// ask for.
func labelFault(keys ...string) fault {
	drop := func(info snapshots.Info) snapshots.Info {
		info.Labels = maps.Clone(info.Labels)
		for _, k := range keys {
			delete(info.Labels, k)
		}
		return info
	}
	return plant(func(f *faulty) {
		f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			return f.Driver.Prepare(ctx, key, parent, with(drop(info)))
		}
		f.view = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			return f.Driver.View(ctx, key, parent, with(drop(info)))
		}
		f.update = func(ctx context.Context, info snapshots.Info, fields ...string) (snapshots.Info, error) {
			return f.Driver.Update(ctx, drop(info), fields...)
		}
	})
}

// removeFault runs first and removes then.
func removeFault(first func(f *faulty, ctx context.Context, key string) error) fault {
	return plant(func(f *faulty) {
		f.remove = func(ctx context.Context, key string) error {
			if err := first(f, ctx, key); err != nil {
				return err
			}
			return f.Driver.Remove(ctx, key)
		}
	})
}

// leak makes the driver forget a file of each removed snapshot.
func leak(f *faulty, ctx context.Context, key string) error {
	m, err := f.Driver.Mounts(ctx, key)
	if err != nil {
		return nil
	}
	upper := upperOf(m)
	return os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(upper)), "usage", "leak-"+fmt.Sprint(time.Now().UnixNano())), nil, 0o600)
}

func walkFault(fn func(f *faulty, ctx context.Context, call snapshots.WalkFunc, filters []string) error) fault {
	return plant(func(f *faulty) {
		f.walk = func(ctx context.Context, call snapshots.WalkFunc, filters ...string) error {
			return fn(f, ctx, call, filters)
		}
	})
}

// wrongKind answers refusals as if the daemon had crashed on them.
func wrongKind(f *faulty) {
	spoil := func(err error) error {
		if err != nil {
			return fmt.Errorf("%w: %s", errPlanted, err.Error())
		}
		return nil
	}
	f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
		m, err := f.Driver.Prepare(ctx, key, parent, with(info))
		return m, spoil(err)
	}
	f.commit = func(ctx context.Context, name, key string, info snapshots.Info) error {
		return spoil(f.Driver.Commit(ctx, name, key, with(info)))
	}
	f.remove = func(ctx context.Context, key string) error { return spoil(f.Driver.Remove(ctx, key)) }
}
