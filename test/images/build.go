package images

import (
	"compress/gzip"
	_ "crypto/sha256" // go-digest has no algorithm of its own
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression is how a layer is stored.
type Compression string

// The compressions that the OCI image specification knows.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// Layer is one layer of an image, from the first of these that is set.
type Layer struct {
	// TarFile is the path of an uncompressed tar.
	TarFile string
	// Stream writes any bytes at all in place of a tar.
	Stream func(io.Writer) error
	// Entries are the layer's entries.
	Entries []Entry

	Compression Compression
	// DiffID overrides the true one in the configuration.
	DiffID digest.Digest
	// Truncate cuts so many bytes off the compressed blob, whose digest is
	// that of what is left.
	Truncate int64
	// Annotations go on the layer's descriptor.
	Annotations map[string]string
}

// Image is one image to build.
type Image struct {
	// Name is its full reference; empty leaves it nameless.
	Name string
	// Config is the part of the configuration that says what to run.
	Config ocispec.ImageConfig
	Layers []Layer
	// Platform defaults to linux on this machine's architecture.
	Platform ocispec.Platform
	// EditConfig and EditManifest change the documents before they are
	// written; what refers to them stays right.
	EditConfig   func(*ocispec.Image)
	EditManifest func(*ocispec.Manifest)
}

// built is an image whose blobs are in files of a folder, named by digest.
type built struct {
	image    Image
	manifest ocispec.Descriptor
	config   ocispec.Descriptor
	layers   []ocispec.Descriptor
}

// blobs is a folder of files named by their digest's hex.
type blobs struct{ dir string }

func (b blobs) path(d digest.Digest) string { return b.dir + "/" + d.Encoded() }

func (b blobs) build(img Image) (built, error) {
	if img.Platform.OS == "" {
		img.Platform = ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	config := ocispec.Image{Created: &Epoch, Platform: img.Platform, Config: img.Config, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for i, l := range img.Layers {
		d, diffID, err := b.layer(l)
		if err != nil {
			return built{}, fmt.Errorf("image %s: layer %d: %w", img.Name, i, err)
		}
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	}
	if img.EditConfig != nil {
		img.EditConfig(&config)
	}
	var err error
	if manifest.Config, err = b.document(ocispec.MediaTypeImageConfig, config); err != nil {
		return built{}, err
	}
	if img.EditManifest != nil {
		img.EditManifest(&manifest)
	}
	d, err := b.document(manifest.MediaType, manifest)
	return built{img, d, manifest.Config, manifest.Layers}, err
}

func (b blobs) document(mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, os.WriteFile(b.path(d.Digest), data, 0o644)
}

// layer writes one layer's blob and returns its descriptor and diff id.
func (b blobs) layer(l Layer) (ocispec.Descriptor, digest.Digest, error) {
	f, err := os.CreateTemp(b.dir, "layer-")
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	diff := digest.Canonical.Digester()
	cw, mediaType, err := compressor(f, l.Compression)
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	if err := l.write(io.MultiWriter(cw, diff.Hash())); err != nil {
		return ocispec.Descriptor{}, "", err
	}
	if err := cw.Close(); err != nil {
		return ocispec.Descriptor{}, "", err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		size -= l.Truncate
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	blob, err := digest.FromReader(f)
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	diffID := diff.Digest()
	if l.DiffID != "" {
		diffID = l.DiffID
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: blob, Size: size, Annotations: l.Annotations}
	if err := f.Chmod(0o644); err != nil {
		return d, "", err
	}
	return d, diffID, os.Rename(f.Name(), b.path(blob))
}

func (l Layer) write(w io.Writer) error {
	switch {
	case l.TarFile != "":
		f, err := os.Open(l.TarFile)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = io.Copy(w, f)
		return err
	case l.Stream != nil:
		return l.Stream(w)
	}
	return WriteTar(w, l.Entries...)
}

func compressor(w io.Writer, c Compression) (io.WriteCloser, string, error) {
	switch c {
	case Plain:
		return nopCloser{w}, ocispec.MediaTypeImageLayer, nil
	case Gzip:
		return gzip.NewWriter(w), ocispec.MediaTypeImageLayerGzip, nil
	case Zstd:
		zw, err := zstd.NewWriter(w)
		return zw, ocispec.MediaTypeImageLayerZstd, err
	}
	return nil, "", fmt.Errorf("compression %q: want gzip, zstd or none", c)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
