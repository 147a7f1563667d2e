package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/test/crash"
	"github.com/varve-project/varve/test/leak"
)

// overlayWorld is a varve-overlay, driven as containerd drives it.
type overlayWorld struct{ *crash.Daemon }

func newOverlay(t testing.TB) overlayWorld {
	return overlayWorld{crash.NewDaemon(t, "overlay")}
}

func (w overlayWorld) Kernel() (leak.Snapshot, error) {
	return leak.Take(leak.Scope{Paths: []string{w.Dir}})
}

func (w overlayWorld) Disk() ([]string, error) { return crash.Tree(w.Root) }

func (w overlayWorld) service() snapshots.Snapshotter {
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(w.Conn()), "varve-overlay")
}

func (w overlayWorld) context() (context.Context, context.CancelFunc) {
	ctx := namespaces.WithNamespace(context.Background(), "crash")
	return context.WithTimeout(ctx, 20*time.Second)
}

// Reconcile is Cleanup: the trash is empty once it returns.
func (w overlayWorld) Reconcile() error {
	if err := w.cleanup(); err != nil {
		return err
	}
	if err := w.NoOrphans(); err != nil {
		return err
	}
	left, err := os.ReadDir(filepath.Join(w.Root, "trash"))
	if err != nil || len(left) > 0 {
		return fmt.Errorf("Cleanup left %d entries in the trash: %v", len(left), err)
	}
	return w.oneFolderEach()
}

// oneFolderEach does not trust the part's own audit: a layer for each snapshot
// but Views, a work folder for each active one, and no more.
func (w overlayWorld) oneFolderEach() error {
	infos, err := w.walk()
	if err != nil {
		return err
	}
	want := map[string]int{}
	for _, info := range infos {
		if info.Kind != snapshots.KindView {
			want["layers"]++
		}
		if info.Kind == snapshots.KindActive {
			want["work"]++
		}
	}
	for _, dir := range []string{"layers", "work"} {
		have, err := os.ReadDir(filepath.Join(w.Root, dir))
		if err != nil {
			return err
		}
		if len(have) != want[dir] {
			return fmt.Errorf("%s has %d entries, want %d for %v", dir, len(have), want[dir], infos)
		}
	}
	return nil
}

func (w overlayWorld) cleanup() error {
	ctx, cancel := w.context()
	defer cancel()
	return w.service().(snapshots.Cleaner).Cleanup(ctx)
}

func (w overlayWorld) walk() ([]snapshots.Info, error) {
	ctx, cancel := w.context()
	defer cancel()
	var infos []snapshots.Info
	err := w.service().Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		infos = append(infos, info)
		return nil
	})
	return infos, err
}

// Empty removes children before their parents.
func (w overlayWorld) Empty() error {
	for {
		infos, err := w.walk()
		if err != nil || len(infos) == 0 {
			return err
		}
		removed := 0
		for _, info := range infos {
			if w.remove(info.Name) == nil {
				removed++
			}
		}
		if removed == 0 {
			return fmt.Errorf("none of the snapshots %v can be removed", infos)
		}
	}
}

func (w overlayWorld) remove(key string) error {
	ctx, cancel := w.context()
	defer cancel()
	return w.service().Remove(ctx, key)
}

func (w overlayWorld) stat(key string) (snapshots.Info, error) {
	ctx, cancel := w.context()
	defer cancel()
	return w.service().Stat(ctx, key)
}

// content is what the test writes into a layer: enough files for a removal to
// have steps.
func content(key string) map[string]string {
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprintf("dir/%s-%d", key, i)] = strings.Repeat(key, 100)
	}
	return files
}

// fill writes content through the mounts of an active snapshot.
func (w overlayWorld) fill(key string) error {
	return w.mounted(key, func(root string) error {
		for name, text := range content(key) {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

// holds checks that the content of keys is seen through the mounts of one.
func (w overlayWorld) holds(key string, of ...string) error {
	return w.mounted(key, func(root string) error {
		for _, k := range of {
			for name, text := range content(k) {
				got, err := os.ReadFile(filepath.Join(root, name))
				if err != nil {
					return err
				}
				if string(got) != text {
					return fmt.Errorf("%s of %s holds %d bytes, want %d", name, key, len(got), len(text))
				}
			}
		}
		return nil
	})
}

func (w overlayWorld) mounted(key string, do func(root string) error) error {
	ctx, cancel := w.context()
	defer cancel()
	mounts, err := w.service().Mounts(ctx, key)
	if err != nil {
		return err
	}
	return mount.WithTempMount(ctx, mounts, do)
}

func (w overlayWorld) prepare(key, parent string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.service().Prepare(ctx, key, parent)
	return err
}

func (w overlayWorld) view(key, parent string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.service().View(ctx, key, parent)
	return err
}

func (w overlayWorld) commit(name, key string, opts ...snapshots.Opt) error {
	ctx, cancel := w.context()
	defer cancel()
	return w.service().Commit(ctx, name, key, opts...)
}

func (w overlayWorld) update(key, label, value string) error {
	ctx, cancel := w.context()
	defer cancel()
	_, err := w.service().Update(ctx, snapshots.Info{Name: key, Labels: map[string]string{label: value}}, "labels."+label)
	return err
}

// base commits a snapshot "base" with content and prepares "work" on it.
func base(w overlayWorld) error {
	return errors.Join(w.prepare("base-active", ""), w.fill("base-active"), w.commit("base", "base-active"),
		w.prepare("work", "base"), w.fill("work"))
}

// baseKept checks that base is whole, seen through a View of its own.
func baseKept(w overlayWorld) error {
	if err := w.view("look", "base"); err != nil {
		return err
	}
	return errors.Join(w.holds("look", "base-active"), w.remove("look"))
}

// unless treats errors that say that the work was done already as success.
func unless(err error, is func(error) bool) error {
	if is(err) {
		return nil
	}
	return err
}

func overlayCases() []crash.Case[overlayWorld] {
	exists := func(key string, kind snapshots.Kind) func(overlayWorld) error {
		return func(w overlayWorld) error {
			info, err := w.stat(key)
			if err == nil && info.Kind != kind {
				err = fmt.Errorf("%s is %s, want %s", key, info.Kind, kind)
			}
			return err
		}
	}
	prepare := func(w overlayWorld) error { return w.prepare("new", "base") }
	view := func(w overlayWorld) error { return w.view("new", "base") }
	first := func(w overlayWorld) error { return w.prepare("new", "") }
	commit := func(w overlayWorld) error { return w.commit("layer", "work") }
	committed := func(w overlayWorld) error {
		if err := w.view("look", "layer"); err != nil {
			return err
		}
		return errors.Join(w.holds("look", "base-active", "work"), w.remove("look"))
	}
	removed := func(key string) func(overlayWorld) error {
		return func(w overlayWorld) error {
			if _, err := w.stat(key); !errdefs.IsNotFound(err) {
				return fmt.Errorf("%s after its removal: %v, want not found", key, err)
			}
			return nil
		}
	}
	workKept := func(w overlayWorld) error {
		return errors.Join(baseKept(w), w.holds("work", "base-active", "work"))
	}
	cleanup := func(w overlayWorld) error { return w.cleanup() }
	return []crash.Case[overlayWorld]{
		{
			Name: "Prepare", Setup: base, Call: prepare, Kept: workKept, Done: exists("new", snapshots.KindActive),
			Again: func(w overlayWorld) error { return unless(prepare(w), errdefs.IsAlreadyExists) },
		},
		{
			Name: "PrepareWithoutParent", Setup: base, Call: first, Kept: workKept, Done: exists("new", snapshots.KindActive),
			Again: func(w overlayWorld) error { return unless(first(w), errdefs.IsAlreadyExists) },
		},
		{
			Name: "View", Setup: base, Call: view, Kept: workKept,
			Done:  func(w overlayWorld) error { return w.holds("new", "base-active") },
			Again: func(w overlayWorld) error { return unless(view(w), errdefs.IsAlreadyExists) },
		},
		{
			Name: "Commit", Setup: base, Call: commit, Done: committed,
			Kept: func(w overlayWorld) error {
				err := baseKept(w)
				if _, stat := w.stat("work"); stat == nil {
					err = errors.Join(err, w.holds("work", "base-active", "work"))
				}
				return err
			},
			Again: func(w overlayWorld) error {
				// The key is gone when the commit was done.
				if _, err := w.stat("layer"); err == nil {
					return nil
				}
				return commit(w)
			},
		},
		{
			Name: "CommitRebase", Call: func(w overlayWorld) error { return w.commit("layer", "work", snapshots.WithParent("base")) },
			Setup: func(w overlayWorld) error {
				return errors.Join(w.prepare("base-active", ""), w.fill("base-active"), w.commit("base", "base-active"),
					w.prepare("work", ""), w.fill("work"))
			},
			Kept: baseKept, Done: committed,
			Again: func(w overlayWorld) error {
				if _, err := w.stat("layer"); err == nil {
					return nil
				}
				return w.commit("layer", "work", snapshots.WithParent("base"))
			},
		},
		{
			Name: "RemoveActive", Setup: base, Call: func(w overlayWorld) error { return w.remove("work") }, Settle: cleanup,
			Kept: baseKept, Done: removed("work"),
			Again: func(w overlayWorld) error { return unless(w.remove("work"), errdefs.IsNotFound) },
		},
		{
			Name: "RemoveCommitted", Settle: cleanup, Kept: baseKept, Done: removed("layer"),
			Setup: func(w overlayWorld) error { return errors.Join(base(w), w.commit("layer", "work")) },
			Call:  func(w overlayWorld) error { return w.remove("layer") },
			Again: func(w overlayWorld) error { return unless(w.remove("layer"), errdefs.IsNotFound) },
		},
		{
			Name: "Cleanup", Setup: base, Kept: baseKept, Done: removed("work"),
			Call: func(w overlayWorld) error { return errors.Join(w.remove("work"), w.cleanup()) },
			Again: func(w overlayWorld) error {
				return errors.Join(unless(w.remove("work"), errdefs.IsNotFound), w.cleanup())
			},
		},
		{
			Name: "Update", Setup: base, Kept: workKept,
			Call: func(w overlayWorld) error { return w.update("work", "test/label", "value") },
			Done: func(w overlayWorld) error {
				info, err := w.stat("work")
				if err == nil && info.Labels["test/label"] != "value" {
					err = fmt.Errorf("labels are %v", info.Labels)
				}
				return err
			},
		},
	}
}

func TestOverlay(t *testing.T) {
	needRoot(t)
	crash.Run(t, 80, newOverlay, overlayCases())
}
