package images

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationName is where containerd and docker keep the full reference.
const annotationName = "io.containerd.image.name"

// WriteLayout builds the images into an OCI layout directory, which it makes.
func WriteLayout(dir string, imgs ...Image) error {
	b := blobs{filepath.Join(dir, "blobs", "sha256")}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	index, err := b.index(imgs)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, "oci-layout"), ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, "index.json"), index)
}

func (b blobs) index(imgs []Image) (ocispec.Index, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, img := range imgs {
		done, err := b.build(img)
		if err != nil {
			return index, err
		}
		d := done.manifest
		d.Platform = &done.image.Platform
		if img.Name != "" {
			d.Annotations = map[string]string{annotationName: img.Name}
		}
		index.Manifests = append(index.Manifests, d)
	}
	return index, nil
}

// WriteMultiPlatform builds a layout of one image of several platforms under
// one name: an index in the index.
func WriteMultiPlatform(dir, name string, imgs ...Image) error {
	b := blobs{filepath.Join(dir, "blobs", "sha256")}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	inner, err := b.index(imgs)
	if err != nil {
		return err
	}
	d, err := b.document(ocispec.MediaTypeImageIndex, inner)
	if err != nil {
		return err
	}
	d.Annotations = map[string]string{annotationName: name}
	outer := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{d}}
	if err := writeJSON(filepath.Join(dir, "oci-layout"), ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, "index.json"), outer)
}

// WriteArchive builds the images into an OCI archive (a tar of a layout). It
// appears whole or not at all.
func WriteArchive(path string, imgs ...Image) error {
	return staged(path, func(dir string) error { return WriteLayout(dir, imgs...) })
}

// WriteDockerArchive builds the images into what `docker save` wrote before
// v25: manifest.json, configurations, and layers as they are.
func WriteDockerArchive(path string, imgs ...Image) error {
	return staged(path, func(dir string) error {
		b := blobs{filepath.Join(dir, ".blobs")}
		if err := os.Mkdir(b.dir, 0o755); err != nil {
			return err
		}
		type entry struct {
			Config   string
			RepoTags []string
			Layers   []string
		}
		var entries []entry
		for _, img := range imgs {
			done, err := b.build(img)
			if err != nil {
				return err
			}
			e := entry{}
			if img.Name != "" {
				e.RepoTags = []string{img.Name}
			}
			rename := func(d digest.Digest, name string) error {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					return err
				}
				return os.Rename(b.path(d), filepath.Join(dir, name))
			}
			e.Config = done.config.Digest.Encoded() + ".json"
			if err := rename(done.config.Digest, e.Config); err != nil {
				return err
			}
			for _, l := range done.layers {
				name := l.Digest.Encoded() + "/layer.tar"
				if !slices.Contains(e.Layers, name) {
					if err := rename(l.Digest, name); err != nil {
						return err
					}
				}
				e.Layers = append(e.Layers, name)
			}
			entries = append(entries, e)
		}
		if err := os.RemoveAll(b.dir); err != nil {
			return err
		}
		return writeJSON(filepath.Join(dir, "manifest.json"), entries)
	})
}

// staged fills a temporary folder beside path and turns it into a tar there.
func staged(path string, fill func(dir string) error) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".images-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := fill(tree); err != nil {
		return err
	}
	out := filepath.Join(dir, "out")
	if err := tarTree(out, tree); err != nil {
		return fmt.Errorf("archive %s: %w", path, err)
	}
	return os.Rename(out, path)
}

func tarTree(path, tree string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	tw := tar.NewWriter(f)
	err = filepath.WalkDir(tree, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tree, p)
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size(), ModTime: Epoch}); err != nil {
			return err
		}
		body, err := os.Open(p)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		_, err = io.Copy(tw, body)
		return err
	})
	if err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return f.Close()
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
