package overlay

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The image is that of the targets: 8 gzip layers, 16,000 files, about 270 MB
// unpacked. Each upper layer also deletes some files of the one below.
const (
	imageLayers  = 8
	imageFiles   = 16_000
	imageBytes   = 270_000_000
	deletedFiles = 20 // in each upper layer
)

// imageLabels keep the blobs from the garbage collector.
var imageLabels = content.WithLabels(map[string]string{"containerd.io/gc.root": "bench"})

// makeImage writes the image into the store and returns its manifest. It is
// the same bytes every time.
func makeImage(ctx context.Context, store content.Store, layers, files, size int) (ocispec.Descriptor, error) {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	random := rand.New(rand.NewPCG(2, 1013)) // any seed; the same on both sides
	for i := range layers {
		blob, diffID, err := makeLayer(random, i, files/layers, size/files)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("make layer %d: %w", i, err)
		}
		desc, err := write(ctx, store, ocispec.MediaTypeImageLayerGzip, blob)
		if err != nil {
			return desc, err
		}
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	}
	var err error
	if manifest.Config, err = writeJSON(ctx, store, ocispec.MediaTypeImageConfig, config); err != nil {
		return manifest.Config, err
	}
	return writeJSON(ctx, store, manifest.MediaType, manifest)
}

// makeLayer is a gzipped tar of so many files of about the given size, half
// random and half zeros, as programs and texts compress.
func makeLayer(random *rand.Rand, layer, files, size int) ([]byte, digest.Digest, error) {
	var blob bytes.Buffer
	digester := digest.Canonical.Digester()
	zip := gzip.NewWriter(&blob)
	archive := tar.NewWriter(io.MultiWriter(zip, digester.Hash()))
	body := make([]byte, 2*size)
	for i := range files {
		name := fmt.Sprintf("layer%d/d%02d/f%d", layer, i/100, i)
		if i%100 == 0 {
			header := tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("layer%d/d%02d/", layer, i/100), Mode: 0o755, ModTime: time.Unix(1, 0)}
			if err := archive.WriteHeader(&header); err != nil {
				return nil, "", err
			}
		}
		length := 1 + random.IntN(2*size-1)
		for j := range length / 2 {
			body[j] = byte(random.Uint32())
		}
		if err := addFile(archive, name, body[:length]); err != nil {
			return nil, "", err
		}
	}
	for i := range min(deletedFiles, files) {
		if layer == 0 {
			break
		}
		if err := addFile(archive, fmt.Sprintf("layer%d/d%02d/.wh.f%d", layer-1, i/100, i), nil); err != nil {
			return nil, "", err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, "", err
	}
	if err := zip.Close(); err != nil {
		return nil, "", err
	}
	return blob.Bytes(), digester.Digest(), nil
}

func addFile(archive *tar.Writer, name string, body []byte) error {
	header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)), ModTime: time.Unix(1, 0)}
	if err := archive.WriteHeader(&header); err != nil {
		return err
	}
	_, err := archive.Write(body)
	return err
}

func writeJSON(ctx context.Context, store content.Store, mediaType string, value any) (ocispec.Descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return write(ctx, store, mediaType, text)
}

func write(ctx context.Context, store content.Store, mediaType string, blob []byte) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	err := content.WriteBlob(ctx, store, desc.Digest.String(), bytes.NewReader(blob), desc, imageLabels)
	if err != nil {
		return desc, fmt.Errorf("store %s: %w", desc.Digest, err)
	}
	return desc, nil
}
