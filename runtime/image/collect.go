package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/varve-project/varve/internal/failpoint"
)

// Remove forgets the name and frees the content and layers that nothing else
// needs. Layers under a container stay until its snapshot is released. The
// error wraps errdefs.ErrNotFound when there is no such name.
func (s *Store) Remove(ctx context.Context, ref string) error {
	ctx = s.context(ctx)
	record, err := s.find(ctx, ref)
	if err != nil {
		return err
	}
	if err := s.images.Delete(ctx, record.Name); err != nil {
		return fmt.Errorf("remove image %s: %w", record.Name, err)
	}
	if _, err := s.collect(ctx, false, record.Name); err != nil {
		return fmt.Errorf("image %s is removed, its space is not free yet; run `varve image prune`: %w", record.Name, err)
	}
	return nil
}

// collectTimeout bounds a collection: while it runs, nobody else adds anything.
const collectTimeout = time.Minute

// collectQuietly tidies after a call that has an outcome of its own. What it
// cannot do now, the next collection does. For done see dropDeadLeases.
func (s *Store) collectQuietly(ctx context.Context, done string) {
	if _, err := s.collect(context.WithoutCancel(ctx), false, done); err != nil {
		log.G(ctx).WithError(err).Error("image store: garbage stays until the next `varve image prune`")
	}
}

// collect marks in the metadata and then brings disk and snapshotter in line
// with it: a level, not a log of what was dirty, so that a crash between the
// two is mended by the next one. The gate is closed all the while, which keeps
// other processes from adding references meanwhile.
func (s *Store) collect(ctx context.Context, dryRun bool, done string) (PruneReport, error) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	closed, err := s.gate.close(ctx)
	if err != nil {
		return PruneReport{}, err
	}
	defer func() { _ = closed.Release() }()
	bolt := &collectorBolt{transactor: transactor{path: s.metaPath()}, snapshotter: s.opts.Snapshotter, dryRun: dryRun}
	db := metadata.NewDB(bolt, noContent{}, nil)
	if !dryRun {
		if err := s.dropDeadLeases(ctx, metadata.NewLeaseManager(db), done); err != nil {
			return PruneReport{}, err
		}
	}
	// Asked before, not inside the collection: metadata would go on without
	// a collector that fails, and take layers in use for garbage.
	inUse, err := s.containers(ctx)
	if err != nil {
		return PruneReport{}, err
	}
	db.RegisterCollectibleResource(resourceContainer, &containerRoots{s.opts.Snapshotter, inUse})
	if _, err := db.GarbageCollect(ctx); err != nil {
		return PruneReport{}, err
	}
	var report PruneReport
	return report, errors.Join(
		s.sweepSnapshots(ctx, bolt.kept.snapshots, dryRun, &report),
		s.sweepContent(ctx, bolt.kept, dryRun, &report))
}

// sweepSnapshots removes layers that the metadata does not have, and what is
// left of probes, children first. One that is in use stays for the next time.
func (s *Store) sweepSnapshots(ctx context.Context, keep map[string]bool, dryRun bool, report *PruneReport) error {
	children := map[string][]string{}
	var lost []string
	err := s.walk(ctx, func(info snapshots.Info) {
		children[info.Parent] = append(children[info.Parent], info.Name)
		layer := strings.HasPrefix(info.Name, Namespace+"/") && !keep[info.Name]
		if layer || strings.HasPrefix(info.Name, probePrefix) {
			lost = append(lost, info.Name)
		}
	})
	if err != nil {
		return err
	}
	depth := func(name string) (n int) {
		for level := children[name]; len(level) > 0; n++ {
			var next []string
			for _, child := range level {
				next = append(next, children[child]...)
			}
			level = next
		}
		return n
	}
	slices.SortStableFunc(lost, func(a, b string) int { return depth(a) - depth(b) })
	var errs []error
	for _, name := range lost {
		if !dryRun {
			err := s.backend.Remove(ctx, name)
			if errdefs.IsFailedPrecondition(err) {
				continue
			}
			if err != nil && !errdefs.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("remove layer %s: %w", name, err))
				continue
			}
		}
		report.Snapshots = append(report.Snapshots, name)
	}
	return errors.Join(errs...)
}

// sweepContent removes blobs and ingests that the metadata does not have.
func (s *Store) sweepContent(ctx context.Context, k kept, dryRun bool, report *PruneReport) error {
	var blobs []content.Info
	if err := s.local.Walk(ctx, func(info content.Info) error {
		if !k.blobs[info.Digest.String()] {
			blobs = append(blobs, info)
		}
		return nil
	}); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, b := range blobs {
		if !dryRun {
			failpoint.Hit("image.collect.blob.before")
			if err := s.local.Delete(ctx, b.Digest); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			failpoint.Hit("image.collect.blob.after")
		}
		report.Blobs, report.Bytes = append(report.Blobs, b.Digest), report.Bytes+b.Size
	}
	return s.sweepIngests(k, dryRun, report)
}

// sweepIngests works on the local store's folders, one per ingest and named by
// the hash of its ref: its own listing fails for good at a folder that a crash
// left without one of its files.
func (s *Store) sweepIngests(k kept, dryRun bool, report *PruneReport) error {
	dir := filepath.Join(s.opts.Root, "content", "ingest")
	folders, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	keep := map[string]bool{}
	for ref := range k.ingests {
		keep[digest.FromString(ref).Encoded()] = true
	}
	for _, f := range folders {
		if keep[f.Name()] {
			continue
		}
		path := filepath.Join(dir, f.Name())
		if data, err := os.Stat(filepath.Join(path, "data")); err == nil {
			report.Bytes += data.Size()
		}
		if !dryRun {
			failpoint.Hit("image.collect.ingest.before")
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			failpoint.Hit("image.collect.ingest.after")
		}
		report.Ingests = append(report.Ingests, f.Name())
	}
	return nil
}

// resourceContainer is a resource type of our own, above containerd's.
const resourceContainer = metadata.ResourceMount + 1

// containerRoots tells metadata's collection which layers containers stand on.
type containerRoots struct {
	snapshotter string
	inUse       []snapshots.Info
}

func (c *containerRoots) StartCollection(context.Context) (metadata.CollectionContext, error) {
	return c, nil
}
func (c *containerRoots) ReferenceLabel() string              { return "" }
func (c *containerRoots) All(func(gc.Node))                   {}
func (c *containerRoots) Leased(_, _ string, _ func(gc.Node)) {}
func (c *containerRoots) Remove(gc.Node)                      {}
func (c *containerRoots) Cancel() error                       { return nil }
func (c *containerRoots) Finish() error                       { return nil }

func (c *containerRoots) Active(namespace string, fn func(gc.Node)) {
	for _, info := range c.inUse {
		if layer := layerName(info.Parent); layer != "" && namespace == Namespace {
			fn(gc.Node{Type: metadata.ResourceSnapshot, Namespace: namespace, Key: c.snapshotter + "/" + layer})
		}
	}
}
