package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// openLayout opens an OCI image layout directory. It is read through an
// os.Root: a layout that came out of an archive may hold symlinks.
func (s *Store) openLayout(dir string, p Progress) (*bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	b, err := s.layoutBundle(root, p)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return b, nil
}

func (s *Store) layoutBundle(root *os.Root, p Progress) (*bundle, error) {
	marker, err := s.layoutDocument(root, ocispec.ImageLayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, invalid("no file %s in it: not an OCI image layout", ocispec.ImageLayoutFile)
	}
	if err != nil {
		return nil, err
	}
	if err := checkLayoutVersion(marker); err != nil {
		return nil, err
	}
	data, err := s.layoutDocument(root, ocispec.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(data, s.limits)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	fetch := func(ctx context.Context, d ocispec.Descriptor) error {
		if err := s.checkBlob(d); err != nil {
			return err
		}
		name := filepath.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
		return s.ingest(ctx, d, func() (io.ReadCloser, error) { return openRegular(root, name) }, p)
	}
	return &bundle{
		index: index, fetch: fetch, close: func() { _ = root.Close() },
		whole: func(ctx context.Context) (ocispec.Descriptor, error) {
			return s.ingestBytes(ctx, ocispec.MediaTypeImageIndex, data)
		},
	}, nil
}

// openRegular opens a file, and never waits for a FIFO.
func openRegular(root *os.Root, name string) (io.ReadCloser, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = invalid("%s is not a regular file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *Store) layoutDocument(root *os.Root, name string) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readLimited(f, name, s.limits.DocumentBytes)
}

func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, invalid("%s: larger than the document limit of %d bytes", name, limit)
	}
	return data, nil
}

func checkLayoutVersion(data []byte) error {
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(data, &layout); err != nil {
		return invalid("%s: %v", ocispec.ImageLayoutFile, err)
	}
	if layout.Version != ocispec.ImageLayoutVersion {
		return invalid("%s: imageLayoutVersion %q, only %q is supported", ocispec.ImageLayoutFile, layout.Version, ocispec.ImageLayoutVersion)
	}
	return nil
}

// ingestBytes stores a document that is in memory.
func (s *Store) ingestBytes(ctx context.Context, mediaType string, data []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	err := s.ingest(ctx, d, func() (io.ReadCloser, error) { return readNopCloser(data), nil }, nil)
	if errdefs.IsAlreadyExists(err) {
		err = nil
	}
	return d, err
}
