package image

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// Get finds an image by name: the full name, a short one ("busybox" is
// docker.io/library/busybox:latest or localhost/busybox:latest), or an id of
// at least four hex digits. It reads in one transaction and asks nobody. The
// error wraps errdefs.ErrNotFound when there is none.
func (s *Store) Get(ctx context.Context, ref string) (img Image, err error) {
	ctx = s.context(ctx)
	err = s.view(ctx, func(ctx context.Context, _ *bolt.Tx) error {
		record, err := s.find(ctx, ref)
		if err != nil {
			return err
		}
		img, err = s.describe(ctx, record)
		return err
	})
	return img, err
}

// List returns all images, by name. An image whose content is damaged is
// listed with what its record says.
func (s *Store) List(ctx context.Context) (all []Image, err error) {
	ctx = s.context(ctx)
	err = s.view(ctx, func(ctx context.Context, _ *bolt.Tx) error {
		records, err := s.images.List(ctx)
		if err != nil {
			return err
		}
		for _, record := range records {
			img, err := s.describe(ctx, record)
			if err != nil {
				img = Image{Name: record.Name, Target: record.Target, Created: record.CreatedAt, Updated: record.UpdatedAt}
			}
			all = append(all, img)
		}
		return nil
	})
	return all, err
}

func (s *Store) describe(ctx context.Context, record images.Image) (Image, error) {
	m, err := matcher(record.Labels[labelPlatform])
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", record.Name, err)
	}
	r, err := s.follow(ctx, record.Target, m, nil)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", record.Name, err)
	}
	return r.image(record), nil
}

// find looks a record up by what a person typed.
func (s *Store) find(ctx context.Context, ref string) (images.Image, error) {
	for _, name := range candidates(ref) {
		record, err := s.images.Get(ctx, name)
		if !errdefs.IsNotFound(err) {
			return record, err
		}
	}
	missing := fmt.Errorf("image %q is not in the store; get it with `varve image pull %s` or `varve image load FILE`: %w", ref, ref, errdefs.ErrNotFound)
	prefix := idPrefix(ref)
	if prefix == "" {
		return images.Image{}, missing
	}
	records, err := s.images.List(ctx)
	if err != nil {
		return images.Image{}, err
	}
	var found []images.Image
	for _, record := range records {
		img, err := s.describe(ctx, record)
		if err != nil {
			continue
		}
		if strings.HasPrefix(img.ID.Encoded(), prefix) || strings.HasPrefix(img.Target.Digest.Encoded(), prefix) {
			found = append(found, record)
		}
	}
	switch len(found) {
	case 0:
		return images.Image{}, missing
	case 1:
		return found[0], nil
	}
	return images.Image{}, fmt.Errorf("image id %q fits %d names, among them %s and %s; use a name: %w",
		ref, len(found), found[0].Name, found[1].Name, errdefs.ErrInvalidArgument)
}
