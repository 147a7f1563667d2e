package image_test

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/images"
)

// Every format that an image comes in gives the same tree.
func TestFormats(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	name := "example.org/layered:1"
	layout := filepath.Join(t.TempDir(), "layout")
	plain := archive(t, layered(name, images.Gzip))
	docker := filepath.Join(t.TempDir(), "docker.tar")
	skopeo := filepath.Join(t.TempDir(), "skopeo.tar")
	if err := images.WriteLayout(layout, layered(name, images.Zstd)); err != nil {
		t.Fatal(err)
	}
	if err := images.WriteDockerArchive(docker, layered(name, images.Plain)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("skopeo", "copy", "oci-archive:"+plain, "docker-archive:"+skopeo+":"+name).CombinedOutput(); err != nil {
		t.Fatalf("skopeo: %v\n%s", err, out)
	}
	for format, path := range map[string]string{
		"OCI layout, zstd layers": layout, "OCI archive, gzip layers": plain,
		"OCI archive in gzip":       compressed(t, plain, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		"OCI archive in zstd":       compressed(t, plain, func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z }),
		"OCI archive, plain layers": archive(t, layered(name, images.Plain)),
		"docker archive":            docker, "docker archive by skopeo": skopeo,
	} {
		t.Run(format, func(t *testing.T) {
			img := load(t, s, path)
			if img.Name != name {
				t.Errorf("name %q, want %q", img.Name, name)
			}
			checkLayered(t, s, img)
			if err := s.Remove(ctx, name); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, n)
		})
	}
	t.Run("standard input", func(t *testing.T) {
		f, err := os.Open(plain)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		imgs, err := s.Load(ctx, "-", image.LoadOptions{In: f, Name: "other", Unpack: true})
		if err != nil || len(imgs) != 1 || imgs[0].Name != "docker.io/library/other:latest" {
			t.Fatalf("%+v, %v", imgs, err)
		}
		checkLayered(t, s, imgs[0])
	})
}

func compressed(t *testing.T, path string, with func(io.Writer) io.WriteCloser) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(path + ".z")
	if err != nil {
		t.Fatal(err)
	}
	w := with(out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	_ = os.Rename(out.Name(), path+".compressed")
	return path + ".compressed"
}

func TestPlatforms(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	one := func(arch string) images.Image {
		return images.Image{
			Platform: ocispec.Platform{OS: "linux", Architecture: arch},
			Layers:   []images.Layer{{Entries: []images.Entry{images.File("arch", arch)}}},
		}
	}
	layout := filepath.Join(t.TempDir(), "layout")
	if err := images.WriteMultiPlatform(layout, "example.org/multi:1", one("amd64"), one("arm64"), one("riscv64")); err != nil {
		t.Fatal(err)
	}
	for wish, want := range map[string]string{"linux/arm64": "arm64", "linux/riscv64": "riscv64"} {
		if _, err := s.Load(ctx, layout, image.LoadOptions{Platform: wish, Unpack: true}); err != nil {
			t.Fatal(err)
		}
		img, err := s.Get(ctx, "example.org/multi:1")
		if err != nil || img.Platform.Architecture != want {
			t.Fatalf("%s: got %+v, %v", wish, img.Platform, err)
		}
		look(t, s, img, func(root string) {
			if got, _ := os.ReadFile(filepath.Join(root, "arch")); string(got) != want {
				t.Errorf("%s: the file says %q", wish, got)
			}
		})
	}
	_, err := s.Load(ctx, layout, image.LoadOptions{Platform: "linux/s390x"})
	if err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("a platform that is not there: %v; want an error that names those on offer", err)
	}
	if _, err := s.Load(ctx, layout, image.LoadOptions{Platform: "a/b/c/d/e"}); err == nil {
		t.Error("a platform that is none was taken")
	}
}

func TestNames(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	nameless := archive(t, images.Image{Layers: []images.Layer{{Entries: []images.Entry{images.File("a", "a")}}}})
	_, err := s.Load(ctx, nameless, image.LoadOptions{})
	if err == nil || !strings.Contains(err.Error(), "--name") {
		t.Errorf("an image without a name: %v; want the remedy --name", err)
	}
	if _, err := s.Load(ctx, nameless, image.LoadOptions{Name: "UPPER"}); err == nil {
		t.Error("an invalid name was taken")
	}
	imgs, err := s.Load(ctx, nameless, image.LoadOptions{Name: "short"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(ctx, nameless, image.LoadOptions{Name: "localhost/mine:2"}); err != nil {
		t.Fatal(err)
	}
	id := imgs[0].ID.Encoded()
	for ref, want := range map[string]string{
		"short": "docker.io/library/short:latest", "short:latest": "docker.io/library/short:latest",
		"docker.io/short": "docker.io/library/short:latest", "docker.io/library/short:latest": "docker.io/library/short:latest",
		"mine:2": "localhost/mine:2", "localhost/mine:2": "localhost/mine:2",
	} {
		if img, err := s.Get(ctx, ref); err != nil || img.Name != want {
			t.Errorf("Get(%q) = %q, %v; want %q", ref, img.Name, err, want)
		}
	}
	if _, err := s.Get(ctx, id[:12]); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an id of two names: %v, want a complaint", err)
	}
	if err := s.Remove(ctx, "mine:2"); err != nil {
		t.Fatal(err)
	}
	if img, err := s.Get(ctx, id[:12]); err != nil || img.Name != "docker.io/library/short:latest" {
		t.Errorf("Get by id: %q, %v", img.Name, err)
	}
	for _, ref := range []string{"nothing", "nothing:1", "deadbeef", "", "a b"} {
		if _, err := s.Get(ctx, ref); !errdefs.IsNotFound(err) {
			t.Errorf("Get(%q): %v, want not found", ref, err)
		}
	}
	two := archive(t, layered("example.org/a:1", images.Gzip), images.Image{Name: "example.org/b:1", Layers: []images.Layer{{Entries: []images.Entry{images.File("b", "b")}}}})
	if _, err := s.Load(ctx, two, image.LoadOptions{Name: "one"}); err == nil || !strings.Contains(err.Error(), "example.org/b:1") {
		t.Errorf("one name for two images: %v", err)
	}
	if imgs, err := s.Load(ctx, two, image.LoadOptions{}); err != nil || len(imgs) != 2 {
		t.Errorf("two images in one archive: %v, %v", imgs, err)
	}
}
