package crash_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/test/crash"
)

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
			_, err := w.stat(key)
			switch {
			case errdefs.IsNotFound(err):
				return nil
			case err == nil:
				return fmt.Errorf("%s is still there", key)
			}
			return err
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
	crash.Run(t, 50, newOverlay, overlayCases())
}
