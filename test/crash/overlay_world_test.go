package crash_test

import (
	"context"
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
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("Cleanup left %d entries in the trash", len(left))
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
