package image

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// candidate is an image on its way in: its content is in the store, held by
// the lease of the call only.
type candidate struct {
	name     string
	target   ocispec.Descriptor
	platform string
	resolved resolved
}

// admit links the content of a candidate together, unpacks it when asked, and
// records its name. The name is the commit point: before it the lease is all
// that holds the content, so that whatever fails leaves nothing.
func (s *Store) admit(ctx context.Context, c candidate, unpack bool, p Progress) (Image, error) {
	if err := s.link(ctx, c); err != nil {
		return Image{}, fmt.Errorf("image %s: %w", c.name, err)
	}
	if unpack {
		if err := s.unpackLayers(ctx, c.name, c.resolved, p); err != nil {
			return Image{}, fmt.Errorf("unpack image %s: %w", c.name, err)
		}
	}
	record := images.Image{Name: c.name, Target: bare(c.target), Labels: map[string]string{}}
	if c.platform != "" {
		record.Labels[labelPlatform] = c.platform
	}
	err := s.update(ctx, func(ctx context.Context) (err error) {
		done, err := s.images.Create(ctx, record)
		if errdefs.IsAlreadyExists(err) {
			done, err = s.images.Update(ctx, record, "target", "labels")
		}
		record = done
		return err
	})
	if err != nil {
		return Image{}, fmt.Errorf("record image %s: %w", c.name, err)
	}
	return c.resolved.image(record), nil
}

// link sets the labels by which a collection finds the way from the target to
// its manifest, configuration and layers.
func (s *Store) link(ctx context.Context, c candidate) error {
	r := c.resolved
	return s.update(ctx, func(ctx context.Context) error {
		for _, index := range r.indexes {
			// All that it names, also what is not here: another name may
			// have chosen another platform of the same index.
			if err := s.refer(ctx, index.descriptor, index.manifests); err != nil {
				return err
			}
		}
		return s.refer(ctx, r.descriptor, append([]ocispec.Descriptor{r.manifest.Config}, r.manifest.Layers...))
	})
}

func (s *Store) refer(ctx context.Context, from ocispec.Descriptor, to []ocispec.Descriptor) error {
	handler := images.SetChildrenMappedLabels(s.content, func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return to, nil
	}, images.ChildGCLabels)
	_, err := handler(ctx, from)
	return err
}
