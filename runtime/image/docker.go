package image

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerEntry is one image of a docker archive's manifest.json.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerIndex turns a docker archive into what everything else expects: it
// writes the manifests that such an archive lacks.
func (s *Store) dockerIndex(ctx context.Context, a archived) (ocispec.Index, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}}
	entries, err := parseDockerManifest(a.manifest, s.limits)
	if err != nil {
		return index, err
	}
	for i, e := range entries {
		d, err := s.dockerImage(ctx, a, e)
		if err != nil {
			return index, fmt.Errorf("manifest.json[%d]: %w", i, err)
		}
		if len(e.RepoTags) == 0 {
			index.Manifests = append(index.Manifests, d)
		}
		for _, tag := range e.RepoTags {
			tagged := d
			tagged.Annotations = map[string]string{images.AnnotationImageName: tag}
			index.Manifests = append(index.Manifests, tagged)
		}
	}
	return index, nil
}

func parseDockerManifest(data []byte, limits Limits) ([]dockerEntry, error) {
	var entries []dockerEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, invalid("manifest.json: %v", err)
	}
	for i, e := range entries {
		if len(e.Layers) > limits.Layers {
			return nil, invalid("manifest.json[%d]: %d layers, the limit is %d", i, len(e.Layers), limits.Layers)
		}
	}
	return entries, nil
}

func (s *Store) dockerImage(ctx context.Context, a archived, e dockerEntry) (ocispec.Descriptor, error) {
	config, err := a.file(e.Config)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("config: %w", err)
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: images.MediaTypeDockerSchema2Manifest, Config: config}
	m.Config.MediaType = images.MediaTypeDockerSchema2Config
	for i, name := range e.Layers {
		layer, err := a.file(name)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("layers[%d]: %w", i, err)
		}
		// Docker's plain layer type may be compressed; what it is shows when
		// it is read.
		layer.MediaType = images.MediaTypeDockerSchema2Layer
		m.Layers = append(m.Layers, layer)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return s.ingestBytes(ctx, m.MediaType, data)
}

// file finds a file of the archive by path, through at most a few links.
func (a archived) file(name string) (ocispec.Descriptor, error) {
	clean := path.Clean(name)
	for range 8 {
		if d, ok := a.blobs[clean]; ok {
			return d, nil
		}
		next, ok := a.links[clean]
		if !ok {
			break
		}
		clean = next
	}
	return ocispec.Descriptor{}, invalid("file %q is not in the archive", clip(name))
}
