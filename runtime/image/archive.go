package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// archived is what an image archive held. Its files are in the content store
// already; an archive is a stream and is read once.
type archived struct {
	layout, index, manifest []byte // oci-layout, index.json, manifest.json
	blobs                   map[string]ocispec.Descriptor
	links                   map[string]string
}

// ingestArchive reads an OCI archive or a docker archive. An archive that is
// both (docker save since v25) is taken for OCI.
func (s *Store) ingestArchive(ctx context.Context, r io.Reader, p Progress) (*bundle, error) {
	a := archived{blobs: map[string]ocispec.Descriptor{}, links: map[string]string{}}
	if err := s.readEntries(ctx, tar.NewReader(r), &a, p); err != nil {
		return nil, err
	}
	b := &bundle{close: func() {}, fetch: s.present}
	switch {
	case a.layout != nil:
		if err := checkLayoutVersion(a.layout); err != nil {
			return nil, err
		}
		if a.index == nil {
			return nil, invalid("an OCI archive without %s", ocispec.ImageIndexFile)
		}
		index, err := parseIndex(a.index, s.limits)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
		}
		b.index = index
		b.whole = func(context.Context) (ocispec.Descriptor, error) {
			return s.ingestBytes(ctx, ocispec.MediaTypeImageIndex, a.index)
		}
		return b, nil
	case a.manifest != nil:
		index, err := s.dockerIndex(ctx, a)
		b.index = index
		b.whole = func(context.Context) (ocispec.Descriptor, error) {
			return ocispec.Descriptor{}, invalid("a docker archive of several images takes no name")
		}
		return b, err
	}
	return nil, invalid("neither %s nor manifest.json in it: not an image archive", ocispec.ImageLayoutFile)
}

// readEntries stores every file of the archive, within limits.
func (s *Store) readEntries(ctx context.Context, tr *tar.Reader, a *archived, p Progress) error {
	var entries, total int64
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("archive, after %d entries: %w", entries, err)
		}
		if entries++; entries > s.limits.ArchiveFiles {
			return invalid("archive: more entries than the limit of %d", s.limits.ArchiveFiles)
		}
		if h.Size < 0 || h.Size > s.limits.BlobBytes-total {
			return invalid("archive: entry %q of %d bytes brings it over the limit of %d", clip(h.Name), h.Size, s.limits.BlobBytes)
		}
		total += h.Size
		if err := s.readEntry(ctx, tr, h, a, p); err != nil {
			return fmt.Errorf("archive entry %q: %w", clip(h.Name), err)
		}
	}
}

func (s *Store) readEntry(ctx context.Context, tr *tar.Reader, h *tar.Header, a *archived, p Progress) (err error) {
	name := path.Clean(h.Name)
	if len(h.Name) > s.limits.NameBytes {
		return invalid("path of %d bytes, the limit is %d", len(h.Name), s.limits.NameBytes)
	}
	switch {
	case h.Typeflag == tar.TypeSymlink:
		// docker save before v25 links a layer that two images share.
		a.links[name] = path.Join(path.Dir(name), h.Linkname)
	case h.Typeflag != tar.TypeReg || h.Size == 0:
	case name == ocispec.ImageLayoutFile:
		a.layout, err = readLimited(tr, name, s.limits.DocumentBytes)
	case name == ocispec.ImageIndexFile:
		a.index, err = readLimited(tr, name, s.limits.DocumentBytes)
	case name == "manifest.json":
		a.manifest, err = readLimited(tr, name, s.limits.DocumentBytes)
	default:
		a.blobs[name], err = s.readBlob(ctx, tr, name, h.Size, p)
	}
	return err
}

// readBlob stores one file. In an OCI archive its path is its digest, which is
// verified; a docker archive's files have no digest of their own before.
func (s *Store) readBlob(ctx context.Context, r io.Reader, name string, size int64, p Progress) (ocispec.Descriptor, error) {
	dir, hex := path.Split(name)
	parent, algorithm := path.Split(path.Clean(dir))
	if parent == ocispec.ImageBlobsDir+"/" && digest.Algorithm(algorithm).Available() {
		d := ocispec.Descriptor{Digest: digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex), Size: size}
		return d, s.ingest(ctx, d, func() (io.ReadCloser, error) { return io.NopCloser(r), nil }, p)
	}
	// The ref is new each time: without a digest nothing could tell whether
	// the beginning that a crash left belongs to the same file.
	ref := "archive-" + uuid.NewString()
	cw, err := content.OpenWriter(ctx, s.content, content.WithRef(ref), content.WithDescriptor(ocispec.Descriptor{Size: size}))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { _ = cw.Close() }()
	if _, err := io.Copy(cw, io.LimitReader(r, size)); err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{Digest: cw.Digest(), Size: size}
	if err := cw.Commit(ctx, size, d.Digest); err != nil && !errdefs.IsAlreadyExists(err) {
		return ocispec.Descriptor{}, err
	}
	p.emit(Event{Phase: Fetched, Object: d.Digest, Kind: "blob", Done: size, Total: size})
	return d, nil
}

// present is the fetch of an archive: everything it had is stored.
func (s *Store) present(ctx context.Context, d ocispec.Descriptor) error {
	if err := s.checkBlob(d); err != nil {
		return err
	}
	info, err := s.content.Info(ctx, d.Digest)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%s %s is named but not in the archive: %w", kindOf(d.MediaType), d.Digest, errdefs.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if info.Size != d.Size {
		return invalid("%s %s has %d bytes, its descriptor says %d", kindOf(d.MediaType), d.Digest, info.Size, d.Size)
	}
	// Hold it by this call's lease also when it was here before.
	return s.hold(ctx, d.Digest)
}

func readNopCloser(data []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(data)) }
