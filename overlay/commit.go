package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/snapshotter/limits"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Commit turns the active snapshot key into the committed snapshot name. It
// walks nothing: what the snapshot takes is known from its quota, or found
// out when somebody asks (usage.go).
func (d *Driver) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if err := d.commit(ctx, name, key, opts); err != nil {
		return fmt.Errorf("commit snapshot %q as %q: %w", key, name, err)
	}
	return nil
}

func (d *Driver) commit(ctx context.Context, name, key string, opts []snapshots.Opt) error {
	if err := limits.Key("name", name); err != nil {
		return err
	}
	info, _, err := d.gather(opts)
	if err != nil {
		return err
	}
	active, err := d.store.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := mustBeActive(active.Info); err != nil {
		return err
	}
	if info.Parent != "" && active.Info.Parent == "" {
		if err := d.adoptTop(ctx, active.ID, info.Parent); err != nil {
			return err
		}
	}
	usage, err := d.settle(ctx, active.ID)
	if err != nil {
		return err
	}
	failpoint.Hit("overlay.commit.metadata.before")
	err = d.store.Do(ctx, metadata.Write{
		Check: func(ctx context.Context) error { return checkCommit(ctx, name, key) },
		Apply: func(ctx context.Context) error {
			_, err := storage.CommitActive(ctx, key, name, usage, func(i *snapshots.Info) error {
				i.Labels, i.Parent = info.Labels, info.Parent
				return nil
			})
			return err
		},
		// The scratch directory of what is committed now serves nobody.
		Done: func() { d.bin.Drop(d.layout.work(active.ID)) },
	})
	if err != nil {
		return err
	}
	failpoint.Hit("overlay.commit.metadata.after")
	return nil
}

func mustBeActive(info snapshots.Info) error {
	if info.Kind == snapshots.KindActive {
		return nil
	}
	return fmt.Errorf("it is %s; only an active snapshot can be committed: %w",
		strings.ToLower(info.Kind.String()), errdefs.ErrFailedPrecondition)
}

// checkCommit answers what can be answered without a change.
func checkCommit(ctx context.Context, name, key string) error {
	if _, _, _, err := storage.GetInfo(ctx, name); err == nil {
		return fmt.Errorf("snapshot %q exists already: %w", name, errdefs.ErrAlreadyExists)
	}
	_, info, _, err := storage.GetInfo(ctx, key)
	if err != nil {
		return err
	}
	return mustBeActive(info)
}

// settle makes the layer's data durable and returns what it takes, or
// unknown. An empty layer has no data, and its directory can be made again
// (repair.go), so it costs no sync.
func (d *Driver) settle(ctx context.Context, id string) (snapshots.Usage, error) {
	layer := d.layout.layer(id)
	empty, err := isEmpty(layer)
	if err != nil {
		return unknown, err
	}
	top, err := readTop(layer)
	if err != nil {
		return unknown, err
	}
	if empty && top.plain() {
		return d.walk(ctx, layer)
	}
	if d.config.SyncCommit {
		failpoint.Hit("overlay.commit.sync.before")
		err := errMany
		if d.syncing.Add(1) == 1 && !littleDirty() {
			err = syncFew(ctx, layer)
		}
		// Several commits at once, a big layer, or nobody else's data to
		// wait for: one syncfs for all.
		if errors.Is(err, errMany) {
			err = d.flush.Flush(ctx)
		}
		d.syncing.Add(-1)
		if err != nil {
			return unknown, err
		}
		failpoint.Hit("overlay.commit.sync.after")
	}
	if u, ok := d.quotaUsage(id); ok {
		return u, nil
	}
	return unknown, nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// adoptTop finishes a rebase: a layer prepared without a parent has a top
// directory that nobody may have spoken of, and that would hide the mode and
// owner of the parent's, which a layer prepared on the parent starts with.
func (d *Driver) adoptTop(ctx context.Context, id, parent string) error {
	p, err := d.store.Get(ctx, parent)
	if err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	layer := d.layout.layer(id)
	own, err := readTop(layer)
	if err != nil || !own.plain() {
		return err
	}
	top, err := readTop(d.layout.layer(p.ID))
	if err != nil {
		return fmt.Errorf("parent %q: %w", parent, err)
	}
	failpoint.Hit("overlay.commit.top.before")
	if err := top.write(layer); err != nil {
		return err
	}
	failpoint.Hit("overlay.commit.top.after")
	return nil
}
