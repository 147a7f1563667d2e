package devmapper

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

// image is the form of an image; every layer has so many files of so many
// bytes.
type image struct{ layers, files, bytes int }

// store writes the image into the store and returns its manifest. It is the
// same bytes every time.
func (im image) store(ctx context.Context, store content.Store) (ocispec.Descriptor, error) {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	random := rand.New(rand.NewPCG(3, uint64(im.layers))) // any seed; the same on both sides
	for i := range im.layers {
		blob, diffID, err := im.layer(random, i)
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

func (im image) layer(random *rand.Rand, layer int) ([]byte, digest.Digest, error) {
	var blob bytes.Buffer
	digester := digest.Canonical.Digester()
	zip := gzip.NewWriter(&blob)
	archive := tar.NewWriter(io.MultiWriter(zip, digester.Hash()))
	body := make([]byte, im.bytes)
	for i := range im.files {
		for j := range body {
			body[j] = byte(random.Uint32())
		}
		header := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("layer%d-f%d", layer, i), Mode: 0o644, Size: int64(len(body)), ModTime: time.Unix(1, 0)}
		if err := archive.WriteHeader(&header); err != nil {
			return nil, "", err
		}
		if _, err := archive.Write(body); err != nil {
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

func writeJSON(ctx context.Context, store content.Store, mediaType string, value any) (ocispec.Descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return write(ctx, store, mediaType, text)
}

func write(ctx context.Context, store content.Store, mediaType string, blob []byte) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	if err := content.WriteBlob(ctx, store, desc.Digest.String(), bytes.NewReader(blob), desc); err != nil {
		return desc, fmt.Errorf("store %s: %w", desc.Digest, err)
	}
	return desc, nil
}
