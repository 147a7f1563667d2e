package image_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/images"
)

// A container on an unpacked image starts without one write to the metadata:
// the snapshotter's record is the only one.
func TestWarmStartWritesNothing(t *testing.T) {
	n := newNode(t)
	load(t, n.open(t), archive(t, layered("example.org/layered:1", images.Gzip)))
	ctx, meta := context.Background(), filepath.Join(n.options.Root, "meta.db")
	before, err := os.Stat(meta)
	if err != nil {
		t.Fatal(err)
	}
	s := n.open(t)
	img, err := s.Get(ctx, "example.org/layered:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unpack(ctx, img, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(ctx, "c", img, image.PrepareOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(meta)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the metadata was written at %v (%v)", after.ModTime(), err)
	}
}

func TestPrepareOptions(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	img := load(t, s, archive(t, layered("example.org/layered:1", images.Gzip)))
	other := load(t, s, archive(t, images.Image{Name: "example.org/other:1", Layers: []images.Layer{{Entries: []images.Entry{images.File("a", "a")}}}}))
	for name, o := range map[string]image.PrepareOptions{
		"negative size": {MaxSize: -1}, "half a mapping": {UIDMap: "0:1000:1"}, "the other half": {GIDMap: "0:1000:1"},
	} {
		if _, err := s.Prepare(ctx, "bad", img, o); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Prepare(ctx, "", img, image.PrepareOptions{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("empty key: %v", err)
	}
	// What the snapshotter cannot do it says; it is not dropped on the way.
	if _, err := s.Prepare(ctx, "mapped", img, image.PrepareOptions{UIDMap: "nonsense", GIDMap: "0:0:1"}); err == nil {
		t.Error("a mapping that is none was taken")
	}
	if _, err := s.Prepare(ctx, "big", img, image.PrepareOptions{MaxSize: 1 << 30}); err != nil && !errdefs.IsNotImplemented(err) {
		t.Errorf("size limit: %v", err)
	}
	for _, key := range []string{"big", "mapped"} {
		if err := s.Release(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Prepare(ctx, "c", img, image.PrepareOptions{Labels: map[string]string{"example.org/pod": "web"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(ctx, "c", other, image.PrepareOptions{}); !errdefs.IsAlreadyExists(err) || !contains(err, img.Name) {
		t.Errorf("a key of another image: %v; want an error that names it", err)
	}
	all, err := s.Snapshots(ctx)
	if err != nil || len(all) != 1 || all[0].Key != "c" || all[0].Image != img.Name || all[0].Parent != img.ChainID.String() || all[0].Labels["example.org/pod"] != "web" || all[0].ReadOnly {
		t.Errorf("Snapshots: %+v, %v", all, err)
	}
	report, err := s.Prune(ctx, image.PruneOptions{All: true, DryRun: true})
	if err != nil || len(report.Images) != 1 || report.Images[0] != other.Name {
		t.Errorf("prune --all --dry-run: %+v, %v; want %s alone", report, err, other.Name)
	}
	if _, err := s.Get(ctx, other.Name); err != nil {
		t.Errorf("a dry run removed: %v", err)
	}
}

// An image without layers is an empty root.
func TestNoLayers(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	img := load(t, s, archive(t, images.Image{Name: "example.org/empty:1"}))
	if _, err := s.Prepare(ctx, "c", img, image.PrepareOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(ctx, "c"); err != nil {
		t.Fatal(err)
	}
}

// A name that comes to stand for another image lets the old layers go when
// the last container on them does.
func TestNameMoves(t *testing.T) {
	n := newNode(t)
	s, ctx, name := n.open(t), context.Background(), "example.org/layered:1"
	one := func(body string) string {
		return archive(t, images.Image{Name: name, Layers: []images.Layer{{Entries: []images.Entry{images.File("a", body)}}}})
	}
	old := load(t, s, one("old"))
	if _, err := s.Prepare(ctx, "c", old, image.PrepareOptions{}); err != nil {
		t.Fatal(err)
	}
	fresh := load(t, s, one("new"))
	if fresh.ChainID == old.ChainID {
		t.Fatal("the same layers")
	}
	if _, _, layers := leftovers(t, n); len(layers) != 3 {
		t.Errorf("snapshots %v; want two layers and the container's", layers)
	}
	if err := s.Release(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if blobs, _, layers := leftovers(t, n); len(layers) != 1 || len(blobs) != 3 {
		t.Errorf("blobs %v, snapshots %v; want those of the new image", blobs, layers)
	}
}
