package image

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// PruneReport says what a Prune removed, or would remove.
type PruneReport struct {
	// Images are names without a container, when asked for.
	Images []string `json:"images,omitempty"`
	// Blobs are content that nothing refers to, Ingests half-written content.
	Blobs   []digest.Digest `json:"blobs,omitempty"`
	Ingests []string        `json:"ingests,omitempty"`
	// Snapshots are layers that nothing refers to, by the snapshotter's name.
	Snapshots []string `json:"snapshots,omitempty"`
	// Bytes are those of Blobs and Ingests; what Snapshots hold is not known
	// without asking the snapshotter for each.
	Bytes int64 `json:"bytes"`
}

// PruneOptions say how far a Prune goes.
type PruneOptions struct {
	// All also removes the names of images that no container or mount uses.
	All bool
	// DryRun changes nothing and only reports. What is held only by the images
	// it names, or by pulls that were interrupted, is not among its blobs and
	// layers then.
	DryRun bool
}

// Prune removes what nothing refers to: content of removed images, what a
// crash left half-done, layers without a record. Layers under a container
// stay. It returns once the space is free again.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (PruneReport, error) {
	ctx = s.context(ctx)
	var unused []string
	if o.All {
		var err error
		if unused, err = s.unused(ctx); err != nil {
			return PruneReport{}, fmt.Errorf("prune images: %w", err)
		}
		for _, name := range unused {
			if o.DryRun {
				break
			}
			if err := s.images.Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
				return PruneReport{}, fmt.Errorf("prune image %s: %w", name, err)
			}
		}
	}
	report, err := s.collect(ctx, o.DryRun, "*")
	report.Images = unused
	if err != nil {
		return report, fmt.Errorf("prune images: %w", err)
	}
	if o.DryRun {
		return report, nil
	}
	return report, s.backend.cleanup(ctx)
}

// unused lists the names that no snapshot was made from.
func (s *Store) unused(ctx context.Context) ([]string, error) {
	inUse, err := s.containers(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, info := range inUse {
		used[info.Labels[labelImage]] = true
	}
	records, err := s.images.List(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, record := range records {
		if !used[record.Name] {
			names = append(names, record.Name)
		}
	}
	return names, nil
}
