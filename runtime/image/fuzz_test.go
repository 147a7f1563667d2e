package image

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	containerd "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/varve-project/varve/test/images"
)

var fuzzLimits = Limits{UnpackedBytes: 1 << 20, Entries: 200, Layers: 8, DocumentBytes: 64 << 10, BlobBytes: 1 << 20, NameBytes: 512, XattrBytes: 4096}

// What a parser takes must be safe to go on with: within limits, of one
// meaning, and with digests that make safe paths.
func FuzzDocuments(f *testing.F) {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("x"), Size: 1}
	l := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("l"), Size: 1}
	for _, v := range []any{
		ocispec.Index{Manifests: []ocispec.Descriptor{d}}, ocispec.Manifest{Config: d, Layers: []ocispec.Descriptor{l}},
		ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("l")}}},
		[]dockerEntry{{Config: "a.json", RepoTags: []string{"a:1"}, Layers: []string{"a/layer.tar"}}},
		map[string]any{"manifests": []any{}, "layers": []any{}}, map[string]any{"fsLayers": []any{1}}, nil, []any{},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &Store{limits: fuzzLimits}
		index, ierr := parseIndex(data, fuzzLimits)
		manifest, merr := parseManifest(data, fuzzLimits)
		if ierr == nil && merr == nil {
			t.Fatalf("both an index and a manifest: %s", data)
		}
		if ierr == nil {
			m, _ := matcher("linux/amd64")
			_, _ = pick(index, m)
			for _, d := range index.Manifests {
				checkedPath(t, s, d)
				_, _ = annotatedName(d)
			}
		}
		if merr == nil {
			if len(manifest.Layers) > fuzzLimits.Layers {
				t.Fatalf("%d layers", len(manifest.Layers))
			}
			for _, d := range append(manifest.Layers, manifest.Config) {
				checkedPath(t, s, d)
			}
		}
		if config, err := parseConfig(data, ocispec.Manifest{Layers: []ocispec.Descriptor{l}}); err == nil {
			_ = resolved{manifest: ocispec.Manifest{Config: d}, config: config}.image(containerd.Image{})
		}
		_, _ = parseDockerManifest(data, fuzzLimits)
	})
}

// checkedPath fails when a descriptor that passes the check would name a file
// outside the blobs.
func checkedPath(t *testing.T, s *Store, d ocispec.Descriptor) {
	t.Helper()
	if s.checkBlob(d) != nil {
		return
	}
	path := filepath.Join("blobs", d.Digest.Algorithm().String(), d.Digest.Encoded())
	if filepath.Dir(filepath.Dir(path)) != "blobs" || d.Size <= 0 || d.Size > s.limits.BlobBytes {
		t.Fatalf("%+v was accepted", d)
	}
}

// Whatever bytes a layer has, applying it changes nothing outside its root and
// writes no more than the limits allow.
func FuzzLayer(f *testing.F) {
	if os.Getuid() != 0 {
		f.Skip("needs root")
	}
	for _, entries := range [][]images.Entry{
		{images.Dir("d"), images.File("d/f", "body"), images.Symlink("l", "/etc"), images.File("l/x", "y"), images.Hardlink("h", "d/f")},
		{images.File("../../canary", "x"), images.Symlink("up", "../.."), images.File("up/canary", "x"), images.Hardlink("h", "up/canary")},
		{images.Whiteout("a"), images.Opaque("d"), images.Whiteout("../a"), images.Opaque("up"), images.File(".wh..", "")},
		{images.CharDevice("c", 1, 3), images.BlockDevice("b", 7, 0), images.Fifo("p"), images.File("x", "").Xattr("user.a", "b").Xattr("trusted.overlay.opaque", "y")},
		{images.File("s", "").Modes(0o6755).Owner(1, 1), images.Symlink("a", "a"), images.File("a/a", "")},
	} {
		for _, c := range []images.Compression{images.Plain, images.Gzip} {
			dir := f.TempDir()
			if err := images.WriteLayout(dir, images.Image{Layers: []images.Layer{{Entries: entries, Compression: c}}}); err != nil {
				f.Fatal(err)
			}
			blobs, _ := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
			for _, b := range blobs {
				if data, err := os.ReadFile(b); err == nil {
					f.Add(data, c == images.Gzip)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, overlay bool) {
		outer := t.TempDir()
		root, lower := filepath.Join(outer, "in", "root"), filepath.Join(outer, "in", "lower")
		for _, dir := range []string{filepath.Join(root, "d"), lower} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(outer, "canary"), []byte("alive"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := outside(t, outer, root)
		var opts []archive.ApplyOpt
		if overlay {
			opts = []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents([]string{lower})}
		}
		sv := &sieve{limits: fuzzLimits, budget: &budget{limit: fuzzLimits.UnpackedBytes}}
		_, _ = applyLayer(context.Background(), root, bytes.NewReader(data), sv, opts...)
		if after := outside(t, outer, root); !slices.Equal(before, after) {
			t.Fatalf("outside the root\nbefore %v\nafter  %v", before, after)
		}
		if size := written(root); size > fuzzLimits.UnpackedBytes {
			t.Fatalf("%d bytes were written", size)
		}
	})
}

// outside describes everything in outer that is not below root.
func outside(t *testing.T, outer, root string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(outer, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == root {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := strings.Join([]string{path, info.Mode().String()}, " ")
		if info.Mode().IsRegular() {
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(body) + " " + info.ModTime().String()
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// written is the size of all files below root, each inode once.
func written(root string) (size int64) {
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		if inode := info.Sys().(*syscall.Stat_t).Ino; !seen[inode] {
			seen[inode] = true
			size += info.Size()
		}
		return nil
	})
	return size
}
