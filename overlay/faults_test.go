package overlay_test

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	maxSizeLabel = snapshots.LabelSnapshotMaxSize
	uidLabel     = snapshots.LabelSnapshotUIDMapping
	gidLabel     = snapshots.LabelSnapshotGIDMapping
)

// faults has one fault for each case of the conformance suite.
var faults = map[string]fault{
	"empty store lists nothing": walkFault(func(*faulty, context.Context, snapshots.WalkFunc, []string) error {
		return errdefs.ErrNotFound // containerd's own overlay snapshotter does that
	}),
	"absent snapshot is NotFound":                 plant(wrongKind),
	"bad keys are refused":                        forgive(errdefs.IsInvalidArgument),
	"prepare on what is not committed is refused": forgive(errdefs.IsInvalidArgument),
	"commit onto an existing name is refused":     forgive(errdefs.IsAlreadyExists),
	"parent with child is in use":                 plant(wrongKind),
	"mounted snapshot is in use":                  forgive(errdefs.IsFailedPrecondition),
	"removed key is free at once":                 plant(func(f *faulty) { f.remove = func(context.Context, string) error { return nil } }),
	"view is read-only":                           mountFault(option("ro", "rw")),
	"mounts are the same again": plant(func(f *faulty) {
		f.mounts = func(ctx context.Context, key string) ([]mount.Mount, error) {
			m, err := f.Driver.Mounts(ctx, key)
			if err == nil {
				m[0].Options = append(m[0].Options, "nodev")
			}
			return m, err
		}
	}),
	"top directory is the parent's": upperFault(func(upper string) { _ = os.Chmod(upper, 0o777) }),
	"mounts name a block device":    {},

	"usage of an active snapshot grows with it": frozenUsage(),
	"usage of a committed snapshot stays": usageFault(func() func(*faulty, string, *snapshots.Usage) {
		var calls atomic.Int64
		return func(_ *faulty, _ string, u *snapshots.Usage) { u.Size += calls.Add(1) }
	}()),
	"usage leaves the parent's files out": usageFault(func(_ *faulty, _ string, u *snapshots.Usage) { u.Size += 16 << 20 }),
	"usage counts inodes":                 usageFault(func(_ *faulty, _ string, u *snapshots.Usage) { u.Inodes = 0 }),
	"usage counts hard links once":        usageFault(naiveUsage),
	"usage counts holes as nothing":       usageFault(naiveUsage),
	"usage of a view is small":            usageFault(func(_ *faulty, _ string, u *snapshots.Usage) { u.Size += 16 << 20 }),

	"cleanup gives everything back": removeFault(leak),
	"cleanup of nothing succeeds":   plant(func(f *faulty) { f.cleanup = func(context.Context) error { return errPlanted } }),
	"cleanup keeps what is not removed": plant(func(f *faulty) {
		f.cleanup = func(ctx context.Context) error {
			if m, err := f.Driver.Mounts(ctx, "a"); err == nil {
				_ = os.Remove(filepath.Join(upperOf(m), "g"))
			}
			return f.Driver.Cleanup(ctx)
		}
	}),

	"rebase puts a layer on its parent":            dropParent(),
	"rebase keeps the parent's top directory":      upperFault(func(upper string) { _ = os.Chmod(upper, 0o700) }),
	"rebase onto an absent parent changes nothing": dropParent(),
	"commit cannot change a parent":                dropParent(),
	"rebase is refused":                            {},

	"layers unpacked one by one keep their deletions":  upperFault(dropWhiteouts),
	"layers unpacked in parallel keep their deletions": mountFault(bind),

	"max-size is enforced":                   labelFault(maxSizeLabel),
	"max-size below the parent's is refused": labelFault(maxSizeLabel),
	"max-size leaves renames and copy-ups alone": plant(func(f *faulty) {
		f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			if _, limited := info.Labels[maxSizeLabel]; !limited {
				return f.Driver.Prepare(ctx, key, parent, with(info))
			}
			m, err := f.Driver.Prepare(ctx, key, parent)
			if err == nil {
				m[0].Options = append(m[0].Options, "ro") // copy-up fails
			}
			return m, err
		}
	}),
	"max-size can be raised":                          labelFault(maxSizeLabel),
	"max-size is refused where it cannot be enforced": labelFault(maxSizeLabel),
	"max-size that is no size is refused":             labelFault(maxSizeLabel),

	"id mapping shifts the owners":           labelFault(uidLabel, gidLabel),
	"id mapping of a view shifts the owners": labelFault(uidLabel, gidLabel),
	"id mapping leaves the layers unshifted": mountFault(shiftLayers),
	"id mapping cannot change later": plant(func(f *faulty) {
		f.update = func(_ context.Context, info snapshots.Info, _ ...string) (snapshots.Info, error) { return info, nil }
	}),
	"id mapping is refused":              {},
	"id mapping that is none is refused": labelFault(uidLabel, gidLabel),

	"labels are kept and updated": plant(func(f *faulty) {
		f.update = func(ctx context.Context, info snapshots.Info, _ ...string) (snapshots.Info, error) {
			return f.Driver.Update(ctx, info)
		}
	}),
	"labels of commit replace those of prepare": plant(func(f *faulty) {
		f.commit = func(ctx context.Context, name, key string, info snapshots.Info) error {
			if before, err := f.Driver.Stat(ctx, key); err == nil {
				maps.Copy(info.Labels, before.Labels)
			}
			return f.Driver.Commit(ctx, name, key, with(info))
		}
	}),
	"only labels can be updated": plant(func(f *faulty) {
		f.update = func(_ context.Context, info snapshots.Info, _ ...string) (snapshots.Info, error) { return info, nil }
	}),
	"filters choose what is listed": walkFault(func(f *faulty, ctx context.Context, call snapshots.WalkFunc, _ []string) error {
		return f.Driver.Walk(ctx, call)
	}),
	"labels too long are refused": labelFault("k"),
	"a long list is whole": walkFault(func(f *faulty, ctx context.Context, call snapshots.WalkFunc, filters []string) error {
		seen := 0
		return f.Driver.Walk(ctx, func(ctx context.Context, i snapshots.Info) error {
			if seen++; seen == 101 {
				return nil // the first of the second message
			}
			return call(ctx, i)
		}, filters...)
	}),

	"200 layers show all their files": mountFault(func(m []mount.Mount) []mount.Mount {
		for i, o := range m[0].Options {
			if lower, ok := strings.CutPrefix(o, "lowerdir="); ok {
				dirs := strings.Split(lower, ":")
				m[0].Options[i] = "lowerdir=" + strings.Join(dirs[:min(len(dirs), 128)], ":")
			}
		}
		return m
	}),

	"hard links stay links": upperFault(func(upper string) {
		copyOver(filepath.Join(upper, "b"))
		copyOver(filepath.Join(upper, "d"))
	}),
	"extended attributes are kept": upperFault(func(upper string) {
		_ = unix.Lremovexattr(filepath.Join(upper, "f"), "security.capability")
	}),
	"a directory made anew hides the parent's": upperFault(func(upper string) {
		_ = unix.Lremovexattr(filepath.Join(upper, "d"), "trusted.overlay.opaque")
	}),
	"a layer's own overlay attributes steer nothing":    mountFault(option("redirect_dir=", "redirect_dir=follow")),
	"an active snapshot without parent takes whiteouts": mountFault(bind),
	"holes stay holes":       upperFault(func(upper string) { copyOver(filepath.Join(upper, "f")) }),
	"strange names are kept": upperFault(func(upper string) { _ = os.Rename(filepath.Join(upper, "new\nline"), filepath.Join(upper, "newline")) }),
	"special files are kept": upperFault(func(upper string) { _ = os.Chmod(filepath.Join(upper, "suid"), 0o755) }),

	"one of many Prepares of a key succeeds":                       forgive(errdefs.IsAlreadyExists),
	"one of many Removes of a key succeeds":                        forgive(errdefs.IsNotFound),
	"one of many Commits to a name succeeds":                       forgive(errdefs.IsAlreadyExists),
	"Prepare and Remove of one key at once leave it whole or gone": removeFault(leak),
	"many keys at once do not disturb each other": plant(func(f *faulty) {
		var calls atomic.Int64
		f.remove = func(ctx context.Context, key string) error {
			if calls.Add(1)%7 == 0 {
				return nil
			}
			return f.Driver.Remove(ctx, key)
		}
	}),

	"a client that stops reading a List holds up nobody": {streaming: true, fault: func(f *faulty) {
		var lock sync.RWMutex
		f.walk = func(ctx context.Context, call snapshots.WalkFunc, filters ...string) error {
			lock.RLock()
			defer lock.RUnlock()
			return f.Driver.Walk(ctx, call, filters...)
		}
		f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			lock.Lock()
			defer lock.Unlock()
			return f.Driver.Prepare(ctx, key, parent, with(info))
		}
	}},
	"a client that disconnects in mid-call leaves nothing half done": plant(func(f *faulty) {
		f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			time.Sleep(5 * time.Millisecond) // so that some client is gone
			m, err := f.Driver.Prepare(context.WithoutCancel(ctx), key, parent, with(info))
			if ctx.Err() != nil {
				_ = leak(f, context.WithoutCancel(ctx), key)
			}
			return m, err
		}
	}),
	"a call whose time is up is answered": plant(func(f *faulty) {
		var lock sync.Mutex
		f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			lock.Lock()
			if ctx.Err() == nil {
				if end, limited := ctx.Deadline(); limited && time.Until(end) < time.Second {
					<-ctx.Done()
				}
			}
			if ctx.Err() != nil {
				return nil, ctx.Err() // and the lock stays held
			}
			defer lock.Unlock()
			return f.Driver.Prepare(ctx, key, parent, with(info))
		}
	}),
}

// forgive turns refusals of one kind into success.
func forgive(is func(error) bool) fault {
	pass := func(err error) error {
		if is(err) {
			return nil
		}
		return err
	}
	return plant(func(f *faulty) {
		f.prepare = func(ctx context.Context, key, parent string, info snapshots.Info) ([]mount.Mount, error) {
			m, err := f.Driver.Prepare(ctx, key, parent, with(info))
			return m, pass(err)
		}
		f.commit = func(ctx context.Context, name, key string, info snapshots.Info) error {
			return pass(f.Driver.Commit(ctx, name, key, with(info)))
		}
		f.remove = func(ctx context.Context, key string) error { return pass(f.Driver.Remove(ctx, key)) }
	})
}

// dropParent forgets the parent that Commit is given.
func dropParent() fault {
	return plant(func(f *faulty) {
		f.commit = func(ctx context.Context, name, key string, info snapshots.Info) error {
			info.Parent = ""
			return f.Driver.Commit(ctx, name, key, with(info))
		}
	})
}

// frozenUsage answers the first value for ever.
func frozenUsage() fault {
	var lock sync.Mutex
	first := map[string]snapshots.Usage{}
	return usageFault(func(_ *faulty, key string, u *snapshots.Usage) {
		lock.Lock()
		defer lock.Unlock()
		if v, ok := first[key]; ok {
			*u = v
			return
		}
		first[key] = *u
	})
}

// naiveUsage adds the sizes of all names.
func naiveUsage(f *faulty, key string, u *snapshots.Usage) {
	m, err := f.Driver.Mounts(context.Background(), key)
	if err != nil {
		return
	}
	*u = snapshots.Usage{}
	_ = filepath.Walk(upperOf(m), func(_ string, st fs.FileInfo, err error) error {
		if err == nil {
			u.Size += st.Size()
			u.Inodes++
		}
		return nil
	})
}

// dropWhiteouts deletes the deletions of a layer.
func dropWhiteouts(upper string) {
	_ = filepath.Walk(upper, func(path string, st fs.FileInfo, err error) error {
		if err == nil && st.Mode()&os.ModeCharDevice != 0 {
			_ = os.Remove(path)
		}
		return nil
	})
}

// copyOver replaces a file by a full copy: no link, no hole.
func copyOver(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	_ = os.Remove(path)
	_ = os.WriteFile(path, data, 0o644)
}

// shiftLayers maps by chown of the shared layers.
func shiftLayers(m []mount.Mount) []mount.Mount {
	mapped := false
	for _, o := range m[0].Options {
		mapped = mapped || strings.HasPrefix(o, "uidmap=")
	}
	for _, o := range m[0].Options {
		if lower, ok := strings.CutPrefix(o, "lowerdir="); ok && mapped {
			for _, dir := range strings.Split(lower, ":") {
				_ = os.Lchown(filepath.Join(dir, "root"), 100_000, 200_000)
			}
		}
	}
	return m
}
