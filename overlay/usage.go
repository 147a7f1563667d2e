package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/varve-project/varve/internal/quota"
)

// unknown is recorded by a Commit that did not measure. The value is found
// when it is first asked for, and kept in a note of its own beside the layer
// since containerd's store cannot change a usage later. A note is only ever
// a copy of what the layer says: one that is missing or torn is made again.
var unknown = snapshots.Usage{Size: -1, Inodes: -1}

// Usage returns what a snapshot holds of its own, the way containerd counts:
// allocated blocks, hard links once. It walks outside every transaction.
func (d *Driver) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	u, err := d.usage(ctx, key)
	if err != nil {
		return snapshots.Usage{}, fmt.Errorf("usage of snapshot %q: %w", key, err)
	}
	return u, nil
}

func (d *Driver) usage(ctx context.Context, key string) (snapshots.Usage, error) {
	r, err := d.store.Get(ctx, key)
	if err != nil {
		return snapshots.Usage{}, err
	}
	switch {
	case r.Info.Kind == snapshots.KindView:
		return snapshots.Usage{}, nil // a View has nothing of its own
	case r.Info.Kind == snapshots.KindActive:
		if u, ok := d.quotaUsage(r.ID); ok {
			return u, nil
		}
		return d.walk(ctx, d.layout.layer(r.ID))
	case r.Usage != unknown:
		return r.Usage, nil
	}
	return d.committedUsage(ctx, r.ID)
}

// committedUsage reads the note of a committed layer, or walks the layer
// once, however many ask and however often they give up waiting.
func (d *Driver) committedUsage(ctx context.Context, id string) (snapshots.Usage, error) {
	if u, err := readNote(d.layout.usage(id)); err == nil {
		return u, nil
	}
	answer := d.walks.DoChan(id, func() (any, error) {
		u, err := d.walk(context.WithoutCancel(ctx), d.layout.layer(id))
		if err != nil {
			return u, err
		}
		if err := writeNote(d.layout.usage(id), u); err != nil {
			d.log.WithError(err).Warn("cannot keep a layer's usage; it is counted again next time")
		}
		return u, nil
	})
	select {
	case r := <-answer:
		u, _ := r.Val.(snapshots.Usage)
		return u, r.Err
	case <-ctx.Done():
		return snapshots.Usage{}, fmt.Errorf("counting goes on, ask again: %w", ctx.Err())
	}
}

// readNote reads "SIZE INODES end"; the last word tells a torn note.
func readNote(path string) (u snapshots.Usage, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return u, err
	}
	var end string
	if _, err := fmt.Sscanf(string(text), "%d %d %s\n", &u.Size, &u.Inodes, &end); err != nil {
		return u, err
	}
	if end != "end" || u.Size < 0 || u.Inodes < 0 {
		return u, errors.New("torn note")
	}
	return u, nil
}

func writeNote(path string, u snapshots.Usage) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %d end\n", u.Size, u.Inodes), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// quotaUsage is the O(1) answer where the layer has a project id. The work
// directory's few inodes carry the same id and are taken off again.
func (d *Driver) quotaUsage(id string) (snapshots.Usage, bool) {
	if d.projects == nil {
		return snapshots.Usage{}, false
	}
	project, inherit, err := quota.Project(d.layout.layer(id))
	if err != nil || project == 0 || !inherit {
		return snapshots.Usage{}, false
	}
	q, err := d.projects.fs.Get(project)
	if err != nil {
		return snapshots.Usage{}, false
	}
	u := snapshots.Usage{Size: q.Used, Inodes: q.Inodes}
	work, err := countTree(context.Background(), d.layout.work(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return snapshots.Usage{}, false
	}
	u.Size, u.Inodes = max(u.Size-work.Size, 0), max(u.Inodes-work.Inodes, 1)
	return u, true
}

// walk counts a tree, a few of them at a time.
func (d *Driver) walk(ctx context.Context, dir string) (snapshots.Usage, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return snapshots.Usage{}, ctx.Err()
	}
	return countTree(ctx, dir)
}
