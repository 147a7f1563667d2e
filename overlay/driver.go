// Package overlay is the overlay2 snapshotter: every snapshot is a directory,
// and its mounts are an overlay of that directory over its parents'.
//
// It owns everything below its root: records (one bbolt file), layers, work
// directories, trash. It mounts nothing but its probes; the mounts it answers
// with are the consumer's to make and unmake. It knows nothing of how it is
// served; the server is snapshotter/server.
package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sync/singleflight"

	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/metadata"
	"github.com/varve-project/varve/snapshotter/trash"
)

// Driver is an open root. Its methods may be called concurrently.
type Driver struct {
	config   Config
	layout   layout
	log      *log.Entry
	probes   *Probes
	store    *metadata.Store
	bin      *trash.Bin
	projects *projects // nil where there are no quotas
	flush    *flusher
	mounted  *mountTable
	options  []string
	walks    singleflight.Group
	slots    chan struct{} // bounds the walks under way
	syncing  atomic.Int32  // commits that wait for their data
}

var _ snapshotter.Driver = (*Driver)(nil)

// Open makes the driver ready on root: it probes kernel and file system,
// and repairs what a killed predecessor left. The caller holds a lock on root
// against a second instance, and closes the driver exactly once.
func Open(ctx context.Context, root string, config Config, logger *log.Entry) (*Driver, error) {
	d, err := open(ctx, root, config, logger)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	return d, nil
}

func open(ctx context.Context, root string, config Config, logger *log.Entry) (_ *Driver, err error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	l, err := newLayout(root)
	if err != nil {
		return nil, err
	}
	d := &Driver{config: config, layout: l, log: logger, mounted: &mountTable{}, slots: make(chan struct{}, 2)}
	if err := d.makeRoot(); err != nil {
		return nil, err
	}
	var undo []func() error
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				err = errors.Join(err, undo[i]())
			}
		}
	}()
	if err := d.probe(); err != nil {
		return nil, err
	}
	if d.flush, err = newFlusher(l.root); err != nil {
		return nil, err
	}
	undo = append(undo, d.flush.Close)
	if d.store, err = metadata.Open(ctx, l.metadata()); err != nil {
		return nil, err
	}
	undo = append(undo, d.store.Close)
	if err := d.openProjects(); err != nil {
		return nil, err
	}
	undo = append(undo, d.projects.Close)
	options := trash.Options{Rate: config.TrashRate, FreePercent: config.TrashFreePercent, Log: logger}
	if d.projects != nil {
		options.Before, options.After = d.projects.note, d.projects.release
	}
	if d.bin, err = trash.Open(l.trash(), options); err != nil {
		return nil, err
	}
	undo = append(undo, d.bin.Close)
	if err := d.repair(ctx); err != nil {
		return nil, fmt.Errorf("repair %s: %w", l.root, err)
	}
	return d, nil
}

// makeRoot makes the directories that are always there. What a killed probe
// left is removed first.
func (d *Driver) makeRoot() error {
	l := d.layout
	if err := os.MkdirAll(l.root, 0o711); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := clearScratch(l.scratch()); err != nil {
		return err
	}
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{
		{l.layers(), 0o700}, {l.works(), 0o700}, {l.usages(), 0o700}, {l.scratch(), 0o700},
		{l.bottom(), 0o755}, {l.blank(), 0o755},
	} {
		if err := os.Mkdir(dir.path, dir.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("root: %w", err)
		}
		if err := os.Chmod(dir.path, dir.mode); err != nil {
			return fmt.Errorf("root: %w", err)
		}
	}
	for _, empty := range []string{l.bottom(), l.blank()} {
		if err := mustBeEmpty(empty); err != nil {
			return err
		}
	}
	return nil
}

// mustBeEmpty guards the directories that show through every snapshot
// without parent: what lies there would be in all of them.
func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s holds %q, and must be empty since it shows in snapshots; move that away: %w",
			dir, entries[0].Name(), errdefs.ErrFailedPrecondition)
	}
	return nil
}

// probe finds out what this kernel and this root can do.
func (d *Driver) probe() error {
	d.probes = NewProbes(d.layout.scratch(), d.config.ProjectIDFirst, d.config.ProjectIDLast)
	if err := d.probes.DType.Err(); err != nil {
		return err
	}
	if err := d.probes.Overlay.Err(); err != nil {
		return err
	}
	d.options = append(guardOptions(), d.config.MountOptions...)
	if inUserNamespace() {
		d.options = append(d.options, "userxattr")
	}
	return nil
}

// Capabilities says what this driver does on this kernel and this root.
func (d *Driver) Capabilities() snapshotter.Capabilities {
	return d.probes.capabilities(d.projects != nil)
}

// Cleanup returns once everything removed before the call is deleted.
func (d *Driver) Cleanup(ctx context.Context) error { return d.bin.Wait(ctx) }

// Close ends background work and closes the records. Trees still in the
// trash are deleted after the next Open.
func (d *Driver) Close() error {
	return errors.Join(d.bin.Close(), d.store.Close(), d.projects.Close(), d.flush.Close(), d.mounted.Close())
}

// clearScratch removes what a probe killed half way left, mounts included.
func clearScratch(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, ".probe-*"))
	if err != nil {
		return err
	}
	for _, p := range left {
		for _, m := range []string{"m", "i"} {
			_ = unmount(filepath.Join(p, m))
		}
		if err := os.RemoveAll(p); err != nil {
			return fmt.Errorf("remove %s, which a former start left: %w", p, err)
		}
	}
	return nil
}
