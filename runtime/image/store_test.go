package image_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/images"
)

// layered is an image whose upper layers delete, replace and shadow.
func layered(name string, c images.Compression) images.Image {
	return images.Image{Name: name, Layers: []images.Layer{
		{Compression: c, Entries: []images.Entry{
			images.Dir("etc"), images.File("etc/keep", "1"), images.File("etc/gone", "1"),
			images.Dir("data"), images.File("data/old", "1"), images.Dir("data/sub"), images.File("data/sub/x", "1"),
			images.Dir("whole"), images.File("whole/a", "1"),
		}},
		{Compression: c, Entries: []images.Entry{
			images.Whiteout("etc/gone"), images.Whiteout("whole"), images.Opaque("data"), images.File("data/new", "2"),
		}},
		{Compression: c, Entries: []images.Entry{
			images.File("etc/keep", "3").Owner(7, 8), images.Hardlink("etc/same", "etc/keep"), images.Symlink("abs", "/etc/keep"),
		}},
	}}
}

func checkLayered(t *testing.T, s *image.Store, img image.Image) {
	t.Helper()
	look(t, s, img, func(root string) {
		for path, want := range map[string]string{"etc/keep": "3", "etc/same": "3", "data/new": "2"} {
			if got, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", path, got, err, want)
			}
		}
		for _, path := range []string{"etc/gone", "whole", "data/old", "data/sub"} {
			if _, err := os.Lstat(filepath.Join(root, path)); !os.IsNotExist(err) {
				t.Errorf("%s is there (%v); an upper layer deleted it", path, err)
			}
		}
		if target, err := os.Readlink(filepath.Join(root, "abs")); err != nil || target != "/etc/keep" {
			t.Errorf("abs -> %q, %v", target, err)
		}
	})
}

func TestLoadUnpackPrepareRemove(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *node{"varve-overlay": newNode, "containerd's overlay": newBuiltinNode} {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			s, ctx := n.open(t), context.Background()
			img := load(t, s, archive(t, layered("example.org/layered:1", images.Gzip)))
			checkLayered(t, s, img)

			mounts, err := s.Prepare(ctx, "pod/app", img, image.PrepareOptions{})
			if err != nil {
				t.Fatal(err)
			}
			again, err := s.Prepare(ctx, "pod/app", img, image.PrepareOptions{})
			if err != nil || len(again) != len(mounts) {
				t.Fatalf("second Prepare of the key: %v, %v; want the mounts of the first", again, err)
			}
			root := t.TempDir()
			if err := mount.All(mounts, root); err != nil {
				t.Fatal(err)
			}
			werr := os.WriteFile(filepath.Join(root, "written"), nil, 0o644)
			if err := errors.Join(werr, mount.UnmountAll(root, 0)); err != nil {
				t.Fatal(err)
			}
			all, err := s.List(ctx)
			if err != nil || len(all) != 1 || all[0].Name != "example.org/layered:1" || all[0].Layers != 3 {
				t.Fatalf("List: %+v, %v", all, err)
			}

			// The name goes, the container's layers stay until it goes too.
			if err := s.Remove(ctx, "example.org/layered:1"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Mounts(ctx, "pod/app"); err != nil {
				t.Errorf("the container lost its root when its image was removed: %v", err)
			}
			if blobs, _, layers := leftovers(t, n); len(blobs) != 0 || len(layers) != 4 {
				t.Errorf("while the container is there: blobs %v, snapshots %v; want no blobs and 3 layers + 1", blobs, layers)
			}
			for range 2 {
				if err := s.Release(ctx, "pod/app"); err != nil {
					t.Fatal(err)
				}
			}
			nothingLeft(t, n)
			if _, err := s.Get(ctx, "example.org/layered:1"); !errdefs.IsNotFound(err) {
				t.Errorf("Get of a removed image: %v", err)
			}
			if _, err := s.Mounts(ctx, "pod/app"); !errdefs.IsNotFound(err) {
				t.Errorf("Mounts of a released key: %v", err)
			}
		})
	}
}
