package image_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/images"
)

// Documents that lie are refused before anything follows them.
func TestHostileDocuments(t *testing.T) {
	n, _ := hostileNode(t)
	s := n.open(t)
	base := func() images.Image {
		return images.Image{Name: hostileName, Layers: []images.Layer{{Entries: many(2, 10)}, {Entries: many(3, 10)}}}
	}
	for name, c := range map[string]struct {
		edit func(*images.Image)
		want string
	}{
		"too many layers": {func(i *images.Image) {
			for range 9 {
				i.Layers = append(i.Layers, i.Layers[0])
			}
		}, "the limit is 8"},
		"huge configuration": {func(i *images.Image) { i.Config.Env = []string{strings.Repeat("x", 70<<10)} }, "document limit of 65536"},
		"huge manifest": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Annotations = map[string]string{"a": strings.Repeat("x", 70<<10)} }
		}, "document limit of 65536"},
		"too few diff ids": {func(i *images.Image) {
			i.EditConfig = func(c *ocispec.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }
		}, "diff_ids names 1 layers"},
		"diff id that is none": {func(i *images.Image) {
			i.EditConfig = func(c *ocispec.Image) { c.RootFS.DiffIDs[1] = "sha256:../../etc" }
		}, "diff_ids[1]"},
		"layer digest with a path": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../../../etc/passwd" }
		}, "digest"},
		"layer that is not there": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Digest = digest.FromString("absent") }
		}, "layer 2 of 2"},
		"wrong layer size": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Size++ }
		}, "its descriptor says"},
		"endless layer size": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Size = math.MaxInt64 }
		}, "limit of 16777216"},
		"negative layer size": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Size = -1 }
		}, "declared size of -1"},
		"encrypted layer": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].MediaType += "+encrypted" }
		}, "layers[1].mediaType"},
		"no image at all": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }
		}, "not that of a container image"},
		"manifest that says it is an index": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.MediaType = ocispec.MediaTypeImageIndex }
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			img := base()
			c.edit(&img)
			_, err := s.Load(context.Background(), archive(t, img), image.LoadOptions{Unpack: true})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want an error with %q", err, c.want)
			}
			nothingLeft(t, n)
		})
	}
}

// The archive itself may lie, too.
func TestHostileArchives(t *testing.T) {
	n, _ := hostileNode(t)
	s := n.open(t)
	fine := filepath.Join(t.TempDir(), "layout")
	if err := images.WriteLayout(fine, layered(hostileName, images.Gzip)); err != nil {
		t.Fatal(err)
	}
	var files []images.Entry
	err := filepath.WalkDir(fine, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		name, _ := filepath.Rel(fine, path)
		files = append(files, images.File(name, string(body)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(match string, e images.Entry) []images.Entry {
		out := append([]images.Entry{}, files...)
		for i := range out {
			if strings.HasPrefix(out[i].Name, match) {
				out[i] = e
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		entries []images.Entry
		want    string
	}{
		"blob that is not its digest": {append([]images.Entry{images.File("blobs/sha256/"+digest.FromString("x").Encoded(), "y")}, files...), "unexpected commit digest"},
		"no index":                    {replaced("index.json", images.File("other", "x")), "without index.json"},
		"another layout version":      {replaced("oci-layout", images.File("oci-layout", `{"imageLayoutVersion":"2.0.0"}`)), `"2.0.0"`},
		"index too large":             {replaced("index.json", images.File("index.json", strings.Repeat(" ", 70<<10))), "document limit"},
		"index that is no JSON":       {replaced("index.json", images.File("index.json", "[")), "index.json"},
		"index that is a manifest":    {replaced("index.json", images.File("index.json", `{"manifests":[],"layers":[]}`)), "manifest as well"},
		"too many entries":            {many(51, 1), "limit of 50"},
		"entry too large":             {[]images.Entry{images.Zeros("x", 17<<20)}, "limit of 16777216"},
		"nothing in it":               {nil, "not an image archive"},
		"docker file outside":         {[]images.Entry{images.Symlink("l", "../../etc/passwd"), images.File("manifest.json", `[{"Config":"l","Layers":["/etc/passwd"]}]`)}, "not in the archive"},
		"docker symlink loop":         {[]images.Entry{images.Symlink("a", "b"), images.Symlink("b", "a"), images.File("manifest.json", `[{"Config":"a"}]`)}, "not in the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.tar")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := images.WriteTar(f, c.entries...); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = s.Load(context.Background(), path, image.LoadOptions{Unpack: true})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want an error with %q", err, c.want)
			}
			nothingLeft(t, n)
		})
	}
}

// A layout folder is a stranger's as well: its files may be pipes and links.
func TestHostileLayout(t *testing.T) {
	n, canary := hostileNode(t)
	s := n.open(t)
	layout := filepath.Join(t.TempDir(), "layout")
	if err := images.WriteLayout(layout, layered(hostileName, images.Gzip)); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(layout, "blobs", "sha256", "*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for name, plant := range map[string]func(path string) error{
		"pipe":    func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"symlink": func(path string) error { return os.Symlink(filepath.Join(canary, "bird"), path) },
		"folder":  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, b := range blobs {
				if err := os.Remove(b); err != nil {
					t.Fatal(err)
				}
				if err := plant(b); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Load(context.Background(), layout, image.LoadOptions{Unpack: true}); err == nil {
				t.Error("it was loaded")
			}
			nothingLeft(t, n)
		})
	}
}
