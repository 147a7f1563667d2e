package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The documents of an image (index, manifest, configuration) come from
// strangers. Each is read only up to a limit, parsed as what its descriptor
// says and as nothing else, and checked before anything follows it.

func (s *Store) checkBlob(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("%s with digest %q: %w: %w", kindOf(d.MediaType), d.Digest, err, errdefs.ErrInvalidArgument)
	}
	if d.Digest.Algorithm() != digest.SHA256 {
		// containerd's content store hashes what it writes by sha256 alone.
		return invalid("%s with digest %s: only sha256 is supported", kindOf(d.MediaType), d.Digest)
	}
	limit, name := s.limits.BlobBytes, "blob"
	if isDocument(d.MediaType) {
		limit, name = s.limits.DocumentBytes, "document"
	}
	if d.Size <= 0 || d.Size > limit {
		return fmt.Errorf("%s %s: declared size of %d bytes is not between 1 and the %s limit of %d: %w",
			kindOf(d.MediaType), d.Digest, d.Size, name, limit, errdefs.ErrInvalidArgument)
	}
	return nil
}

// readDocument reads a document that is in the content store already.
func (s *Store) readDocument(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if err := s.checkBlob(d); err != nil {
		return nil, err
	}
	ra, err := s.content.ReaderAt(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("%s %s is not in the content store; load or pull the image again: %w", kindOf(d.MediaType), d.Digest, err)
	}
	defer func() { _ = ra.Close() }()
	// The descriptor's size is a claim about the blob; the blob may be another.
	if ra.Size() != d.Size {
		return nil, fmt.Errorf("%s %s: has %d bytes, its descriptor says %d: %w",
			kindOf(d.MediaType), d.Digest, ra.Size(), d.Size, errdefs.ErrInvalidArgument)
	}
	data := make([]byte, d.Size)
	if _, err := io.ReadFull(io.NewSectionReader(ra, 0, d.Size), data); err != nil {
		return nil, fmt.Errorf("%s %s: %w", kindOf(d.MediaType), d.Digest, err)
	}
	if d.Digest.Algorithm().FromBytes(data) != d.Digest {
		return nil, fmt.Errorf("%s %s: the content store holds other bytes; remove the image and load it again: %w",
			kindOf(d.MediaType), d.Digest, errdefs.ErrDataLoss)
	}
	return data, nil
}

// shape is what tells an index from a manifest. A document that is both is
// refused: two readers would see two images in it (CVE-2021-41190).
type shape struct {
	MediaType string          `json:"mediaType"`
	Manifests json.RawMessage `json:"manifests"`
	Config    json.RawMessage `json:"config"`
	Layers    json.RawMessage `json:"layers"`
	FSLayers  json.RawMessage `json:"fsLayers"`
}

func parseIndex(data []byte, limits Limits) (ocispec.Index, error) {
	var sh shape
	var index ocispec.Index
	if err := json.Unmarshal(data, &sh); err != nil {
		return index, invalid("index: %v", err)
	}
	if len(sh.Config) > 0 || len(sh.Layers) > 0 || len(sh.FSLayers) > 0 || images.IsManifestType(sh.MediaType) {
		return index, invalid("index: the document is a manifest as well")
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return index, invalid("index: %v", err)
	}
	// As many manifests as a document of the allowed size could hold is no
	// sensible number; each costs a look when a platform is chosen.
	if most := 4 * limits.Layers; len(index.Manifests) > most {
		return index, invalid("index: %d manifests, the limit is %d", len(index.Manifests), most)
	}
	return index, nil
}

func parseManifest(data []byte, limits Limits) (ocispec.Manifest, error) {
	var sh shape
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &sh); err != nil {
		return m, invalid("manifest: %v", err)
	}
	if len(sh.FSLayers) > 0 {
		return m, invalid("manifest: docker schema 1 is not supported; push the image again with a current tool")
	}
	if len(sh.Manifests) > 0 || images.IsIndexType(sh.MediaType) {
		return m, invalid("manifest: the document is an index as well")
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, invalid("manifest: %v", err)
	}
	if !images.IsConfigType(m.Config.MediaType) {
		return m, invalid("manifest: config.mediaType %q is not that of a container image", m.Config.MediaType)
	}
	if len(m.Layers) > limits.Layers {
		return m, invalid("manifest: %d layers, the limit is %d", len(m.Layers), limits.Layers)
	}
	for i, l := range m.Layers {
		if _, err := layerCompression(l.MediaType); err != nil {
			return m, invalid("manifest: layers[%d].mediaType %q is not a layer that can be unpacked here", i, l.MediaType)
		}
	}
	return m, nil
}

// parseConfig reads a configuration and holds it against its manifest.
func parseConfig(data []byte, m ocispec.Manifest) (ocispec.Image, error) {
	var c ocispec.Image
	if err := json.Unmarshal(data, &c); err != nil {
		return c, invalid("config: %v", err)
	}
	if c.RootFS.Type != "" && c.RootFS.Type != "layers" {
		return c, invalid("config: rootfs.type %q, only \"layers\" is supported", c.RootFS.Type)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return c, invalid("config: rootfs.diff_ids names %d layers, the manifest has %d", len(c.RootFS.DiffIDs), len(m.Layers))
	}
	for i, id := range c.RootFS.DiffIDs {
		if err := id.Validate(); err != nil {
			return c, invalid("config: rootfs.diff_ids[%d] %q: %v", i, id, err)
		}
		if id.Algorithm() != digest.SHA256 {
			return c, invalid("config: rootfs.diff_ids[%d] %q: only sha256 is supported", i, id)
		}
	}
	return c, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
}

func isDocument(mediaType string) bool {
	return images.IsIndexType(mediaType) || images.IsManifestType(mediaType) || images.IsConfigType(mediaType)
}

// kindOf says what a media type is, for a person.
func kindOf(mediaType string) string {
	switch {
	case images.IsIndexType(mediaType):
		return "index"
	case images.IsManifestType(mediaType):
		return "manifest"
	case images.IsConfigType(mediaType):
		return "config"
	case images.IsLayerType(mediaType):
		return "layer"
	}
	return "blob"
}
