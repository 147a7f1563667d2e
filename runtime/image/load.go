package image

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Load reads every image of an OCI layout directory, an OCI archive or a
// docker archive (plain, gzip or zstd; "-" reads standard input) and records
// it under its name in the archive, or under o.Name. Every blob's digest is
// verified. An image that fails leaves no name and no content; those before it
// in the archive are loaded and returned with the error.
func (s *Store) Load(ctx context.Context, path string, o LoadOptions) (loaded []Image, err error) {
	ctx = s.context(ctx)
	m, err := matcher(o.Platform)
	if err != nil {
		return nil, err
	}
	if o.Name != "" {
		if o.Name, err = Normalize(o.Name); err != nil {
			return nil, err
		}
	}
	leased, end, err := s.begin(ctx, "")
	if err != nil {
		return nil, err
	}
	defer s.collectQuietly(ctx, "")
	defer end(false)
	b, err := s.openBundle(leased, path, o)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	defer b.close()
	entries, err := b.named(o.Name)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	for _, e := range entries {
		img, err := s.loadOne(leased, b, e, m, o)
		if err != nil {
			return loaded, fmt.Errorf("load %s: %w", path, err)
		}
		loaded = append(loaded, img)
	}
	return loaded, nil
}

func (s *Store) loadOne(ctx context.Context, b *bundle, e entry, m platforms.MatchComparer, o LoadOptions) (Image, error) {
	c := candidate{name: e.name, target: e.target, platform: o.Platform}
	var err error
	if c.resolved, err = s.follow(ctx, e.target, m, b.fetch); err != nil {
		return Image{}, fmt.Errorf("image %s: %w", e.name, err)
	}
	for i, layer := range c.resolved.manifest.Layers {
		if err := b.fetch(ctx, layer); err != nil {
			return Image{}, fmt.Errorf("image %s: layer %d of %d: %w", e.name, i+1, len(c.resolved.manifest.Layers), err)
		}
	}
	return s.admit(ctx, c, o.Unpack, o.Progress)
}

// bundle is an image archive or layout: an index and a way to its blobs.
type bundle struct {
	index ocispec.Index
	// whole describes the index itself, for a bundle that is one image.
	whole func(ctx context.Context) (ocispec.Descriptor, error)
	// fetch brings a blob into the content store, or verifies that it came.
	fetch fetchFunc
	close func()
}

// entry is one image of a bundle under the name that it will have.
type entry struct {
	name   string
	target ocispec.Descriptor
}

func (s *Store) openBundle(ctx context.Context, path string, o LoadOptions) (*bundle, error) {
	if path == "-" {
		if o.In == nil {
			o.In = os.Stdin
		}
		return s.readArchive(ctx, o.In, o.Progress)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return s.openLayout(path, o.Progress)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return s.readArchive(ctx, f, o.Progress)
}

func (s *Store) readArchive(ctx context.Context, r io.Reader, p Progress) (*bundle, error) {
	plain, err := decompress(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }()
	return s.ingestArchive(ctx, plain, p)
}

// named gives every image of the bundle its name.
func (b *bundle) named(wish string) ([]entry, error) {
	var entries []entry
	var digests []string
	for _, d := range b.index.Manifests {
		if !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType) {
			continue
		}
		name, err := annotatedName(d)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{name, d})
		if !slices.Contains(digests, d.Digest.String()) {
			digests = append(digests, d.Digest.String())
		}
	}
	switch {
	case len(entries) == 0:
		return nil, invalid("there is no image in it")
	case wish != "" && len(digests) == 1:
		return []entry{{wish, entries[0].target}}, nil
	case wish != "":
		return b.asOne(wish, entries)
	}
	for _, e := range entries {
		if e.name == "" {
			return nil, invalid("image %s has no name in it; give it one with --name", e.target.Digest)
		}
	}
	return entries, nil
}

// asOne takes a bundle of several nameless manifests for one image of several
// platforms, which is how some tools write it.
func (b *bundle) asOne(wish string, entries []entry) ([]entry, error) {
	var names []string
	for _, e := range entries {
		if e.name != "" {
			names = append(names, e.name)
		}
	}
	if len(names) > 0 {
		return nil, invalid("name %s does not fit %d images; load it without --name to get %s", wish, len(entries), strings.Join(names, ", "))
	}
	target, err := b.whole(context.Background())
	if err != nil {
		return nil, err
	}
	return []entry{{wish, target}}, nil
}

// annotatedName is the name that the bundle gives an image, "" for none.
func annotatedName(d ocispec.Descriptor) (string, error) {
	if name := d.Annotations[images.AnnotationImageName]; name != "" {
		return Normalize(name)
	}
	name := d.Annotations[ocispec.AnnotationRefName]
	if name == "" || isTagOnly(name) {
		// A bare tag names no image.
		return "", nil
	}
	return Normalize(name)
}
