package image_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/images"
)

// Several processes load, unpack and run from the same image while others
// collect garbage: everyone succeeds, and in the end there is one of each
// thing. A store of its own per goroutine shares no memory with the others,
// like a process.
func TestManyProcesses(t *testing.T) {
	n := newNode(t)
	path := archive(t, layered("example.org/layered:1", images.Gzip))
	ctx := context.Background()
	var group errgroup.Group
	for worker := range 4 {
		s := n.open(t)
		group.Go(func() error {
			for round := range 4 {
				imgs, err := s.Load(ctx, path, image.LoadOptions{Unpack: true})
				if err != nil {
					return fmt.Errorf("load: %w", err)
				}
				key := fmt.Sprintf("c%d-%d", worker, round)
				if _, err := s.Prepare(ctx, key, imgs[0], image.PrepareOptions{}); err != nil {
					return fmt.Errorf("prepare: %w", err)
				}
				if _, err := s.Mounts(ctx, key); err != nil {
					return fmt.Errorf("mounts: %w", err)
				}
				if err := s.Release(ctx, key); err != nil {
					return fmt.Errorf("release: %w", err)
				}
			}
			return nil
		})
	}
	stop := make(chan struct{})
	var collector sync.WaitGroup
	pruner := n.open(t)
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := pruner.Prune(ctx, image.PruneOptions{}); err != nil {
				t.Errorf("prune beside the others: %v", err)
				return
			}
		}
	})
	err := group.Wait()
	close(stop)
	collector.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s := n.open(t)
	img, err := s.Get(ctx, "example.org/layered:1")
	if err != nil {
		t.Fatal(err)
	}
	checkLayered(t, s, img)
	if blobs, ingests, layers := leftovers(t, n); len(blobs) != 5 || len(ingests) != 0 || len(layers) != 3 {
		t.Errorf("blobs %v, ingests %v, snapshots %v; want 5, 0 and 3", blobs, ingests, layers)
	}
}

// The same through the command line, with real processes.
func TestManyCommands(t *testing.T) {
	n, bin := newCLINode(t), built.Path(t, "varve")
	path := archive(t, layered("example.org/layered:1", images.Gzip))
	var group errgroup.Group
	for i := range 6 {
		group.Go(func() error {
			args := []string{"image", "load", path}
			if i%3 == 2 {
				args = []string{"image", "prune"}
			}
			if out, err := n.varve(bin, args...).CombinedOutput(); err != nil {
				return fmt.Errorf("%v: %w\n%s", args, err, out)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	s := n.open(t)
	img, err := s.Get(context.Background(), "example.org/layered:1")
	if err != nil {
		t.Fatal(err)
	}
	checkLayered(t, s, img)
}

// A snapshotter whose root was wiped, or another one than last time, is filled
// again from the content.
func TestLostLayersComeBack(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	img := load(t, s, archive(t, layered("example.org/layered:1", images.Gzip)))
	n.stop(t)
	if err := os.RemoveAll(filepath.Join(n.dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	s = n.open(t)
	if _, err := s.Prepare(ctx, "c", img, image.PrepareOptions{}); err != nil {
		t.Fatal(err)
	}
	checkLayered(t, s, img)
	if err := s.Release(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, img.Name); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

// A lost metadata file loses the names; what is left of the rest is collected.
func TestLostMetadata(t *testing.T) {
	n := newNode(t)
	path := archive(t, layered("example.org/layered:1", images.Gzip))
	load(t, n.open(t), path)
	if err := os.Remove(filepath.Join(n.options.Root, "meta.db")); err != nil {
		t.Fatal(err)
	}
	s, ctx := n.open(t), context.Background()
	if _, err := s.Get(ctx, "example.org/layered:1"); !errdefs.IsNotFound(err) {
		t.Errorf("Get after the metadata was lost: %v", err)
	}
	report, err := s.Prune(ctx, image.PruneOptions{DryRun: true})
	if err != nil || len(report.Blobs) != 5 || len(report.Snapshots) != 3 {
		t.Errorf("dry run: %+v, %v; want 5 blobs and 3 layers", report, err)
	}
	checkLayered(t, s, load(t, s, path))
	if err := s.Remove(ctx, "example.org/layered:1"); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

// A blob that a power cut took away is named, and comes back with the next load.
func TestLostBlobsComeBack(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	path := archive(t, layered("example.org/layered:1", images.Gzip))
	img := load(t, s, path)
	blobs, _, _ := leftovers(t, n)
	for _, b := range blobs {
		if err := os.Remove(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(ctx, img.Name); err == nil || !contains(err, "again", img.Manifest.Digest.String()) {
		t.Errorf("Get without content: %v; want the digest and the remedy", err)
	}
	checkLayered(t, s, load(t, s, path))
	if err := s.Remove(ctx, img.Name); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

// A snapshotter that is down is named with the remedy, reading works without
// it, and what was left half-done is finished later.
func TestSnapshotterIsDown(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	img := load(t, s, archive(t, layered("example.org/layered:1", images.Gzip)))
	n.stop(t)
	if _, err := s.Get(ctx, img.Name); err != nil {
		t.Errorf("Get: %v", err)
	}
	for what, err := range map[string]error{
		"prepare": func() error { _, err := s.Prepare(ctx, "c", img, image.PrepareOptions{}); return err }(),
		"remove":  s.Remove(ctx, img.Name),
		"list":    func() error { _, err := s.Snapshots(ctx); return err }(),
	} {
		if !errdefs.IsUnavailable(err) || !contains(err, n.options.Address, "varve up") {
			t.Errorf("%s: %v; want unavailable, the socket and the remedy", what, err)
		}
	}
	n.start(t)
	if _, err := n.open(t).Prune(ctx, image.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}
