package image

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// labelPlatform on an image record keeps the platform that was asked for.
const labelPlatform = "varve.dev/platform"

// matcher parses a platform wish; "" is the host's own.
func matcher(wish string) (platforms.MatchComparer, error) {
	if wish == "" {
		return platforms.Default(), nil
	}
	p, err := platforms.Parse(wish)
	if err != nil {
		return nil, fmt.Errorf("platform %q: want os/arch[/variant], such as linux/arm64: %w", wish, err)
	}
	return platforms.Only(p), nil
}

// resolved is what a target resolves to for one platform.
type resolved struct {
	// indexes are those on the way, with all that they name.
	indexes    []indexed
	descriptor ocispec.Descriptor
	manifest   ocispec.Manifest
	config     ocispec.Image
}

type indexed struct {
	descriptor ocispec.Descriptor
	manifests  []ocispec.Descriptor
}

// fetchFunc brings a document into the content store; nil when it must be
// there.
type fetchFunc func(context.Context, ocispec.Descriptor) error

// maxIndexDepth bounds indexes in indexes; buildx makes one level.
const maxIndexDepth = 4

// follow walks from target to manifest and configuration of the platform.
func (s *Store) follow(ctx context.Context, target ocispec.Descriptor, m platforms.MatchComparer, fetch fetchFunc) (resolved, error) {
	desc := target
	var indexes []indexed
	for range maxIndexDepth {
		data, err := s.document(ctx, desc, fetch)
		if err != nil {
			return resolved{}, err
		}
		switch {
		case images.IsManifestType(desc.MediaType):
			r, err := s.followManifest(ctx, desc, data, fetch)
			r.indexes = indexes
			return r, err
		case images.IsIndexType(desc.MediaType):
			index, err := parseIndex(data, s.limits)
			if err != nil {
				return resolved{}, fmt.Errorf("%s: %w", desc.Digest, err)
			}
			indexes = append(indexes, indexed{desc, index.Manifests})
			if desc, err = pick(index, m); err != nil {
				return resolved{}, fmt.Errorf("%s: %w", target.Digest, err)
			}
		default:
			return resolved{}, invalid("%s: media type %q is neither an index nor a manifest", desc.Digest, desc.MediaType)
		}
	}
	return resolved{}, invalid("%s: indexes in indexes, more than %d deep", target.Digest, maxIndexDepth)
}

func (s *Store) followManifest(ctx context.Context, desc ocispec.Descriptor, data []byte, fetch fetchFunc) (resolved, error) {
	manifest, err := parseManifest(data, s.limits)
	if err != nil {
		return resolved{}, fmt.Errorf("%s: %w", desc.Digest, err)
	}
	data, err = s.document(ctx, manifest.Config, fetch)
	if err != nil {
		return resolved{}, err
	}
	config, err := parseConfig(data, manifest)
	if err != nil {
		return resolved{}, fmt.Errorf("%s: %w", manifest.Config.Digest, err)
	}
	return resolved{descriptor: desc, manifest: manifest, config: config}, nil
}

func (s *Store) document(ctx context.Context, desc ocispec.Descriptor, fetch fetchFunc) ([]byte, error) {
	if fetch != nil {
		if err := fetch(ctx, desc); err != nil {
			return nil, err
		}
	}
	return s.readDocument(ctx, desc)
}

// pick chooses the best manifest of an index for a platform. An entry that
// names no platform fits when it is the only one.
func pick(index ocispec.Index, m platforms.MatchComparer) (ocispec.Descriptor, error) {
	var best *ocispec.Descriptor
	var offered []string
	for i, d := range index.Manifests {
		if !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType) {
			continue
		}
		if d.Platform == nil {
			if len(index.Manifests) == 1 {
				return d, nil
			}
			continue
		}
		offered = append(offered, platforms.Format(*d.Platform))
		if !m.Match(*d.Platform) {
			continue
		}
		if best == nil || m.Less(*d.Platform, *best.Platform) {
			best = &index.Manifests[i]
		}
	}
	if best == nil {
		return ocispec.Descriptor{}, fmt.Errorf("no manifest for this platform; the index offers %s; choose with --platform: %w",
			strings.Join(offered, ", "), errdefs.ErrNotFound)
	}
	return *best, nil
}

// image puts a record and what it resolves to into one value.
func (r resolved) image(record images.Image) Image {
	img := Image{
		Name: record.Name, Target: record.Target, Manifest: r.descriptor,
		ID: r.manifest.Config.Digest, Config: r.config, Layers: len(r.manifest.Layers),
		Size:    r.descriptor.Size + r.manifest.Config.Size,
		Created: record.CreatedAt, Updated: record.UpdatedAt,
		Platform: platforms.Normalize(r.config.Platform),
	}
	for _, l := range r.manifest.Layers {
		img.Size += l.Size
	}
	if len(r.config.RootFS.DiffIDs) > 0 {
		img.ChainID = identity.ChainID(r.config.RootFS.DiffIDs)
	}
	return img
}
