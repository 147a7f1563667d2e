package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// zstdWindow is the largest window a layer may ask for: that of `zstd --long`.
// A hostile frame header could otherwise claim gigabytes of memory.
const zstdWindow = 128 << 20

// layerCompression says how a layer of this media type is compressed: gzip,
// zstd, none, or unknown (docker's plain type is used for all of them). Other
// formats (encrypted, erofs, foreign processors) are an error.
func layerCompression(mediaType string) (string, error) {
	if strings.HasSuffix(mediaType, "+encrypted") {
		return "", invalid("media type %q: encrypted layers are not supported", mediaType)
	}
	return images.DiffCompression(context.Background(), mediaType)
}

// decompress detects gzip and zstd by their magic numbers; what is neither is
// passed through. It needs no help from outside programs.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 256<<10)
	magic, err := buffered.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case bytes.HasPrefix(magic, []byte("BZh")):
		return nil, invalid("bzip2 is not supported; recompress with gzip or zstd")
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, invalid("xz is not supported; recompress with gzip or zstd")
	}
	return io.NopCloser(buffered), nil
}

// budget is what is left of Limits.UnpackedBytes for all layers of one unpack.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) error {
	if n < 0 || b.used.Add(n) > b.limit {
		return invalid("unpacks to more than the limit of %d bytes", b.limit)
	}
	return nil
}

// sieve checks every entry of a layer before it touches the disk, and
// remembers where it is for the error message.
type sieve struct {
	limits  Limits
	budget  *budget
	entries int64
	entry   string
}

// check is an archive.Filter. It sees the header only: what an entry will cost
// is what it declares (a sparse file declares its full size and brings no
// bytes), and archive/tar holds the entry to that.
func (s *sieve) check(h *tar.Header) (bool, error) {
	s.entries++
	s.entry = clip(h.Name)
	if s.entries > s.limits.Entries {
		return false, invalid("more entries than the limit of %d", s.limits.Entries)
	}
	if n := max(len(h.Name), len(h.Linkname)); n > s.limits.NameBytes {
		return false, invalid("path of %d bytes, the limit is %d", n, s.limits.NameBytes)
	}
	xattrs := 0
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.") {
			xattrs += len(key) + len(value)
		}
	}
	if xattrs > s.limits.XattrBytes {
		return false, invalid("extended attributes of %d bytes, the limit is %d", xattrs, s.limits.XattrBytes)
	}
	return true, s.budget.take(h.Size)
}

// clip keeps a hostile name from filling the terminal.
func clip(name string) string {
	if len(name) > 200 {
		return name[:200] + "..."
	}
	return name
}

// applied is what a layer turned out to be.
type applied struct {
	diffID digest.Digest
	size   int64
}

// applyLayer unpacks one layer stream into root. root is a directory of the
// snapshot, which nobody else changes meanwhile. Nothing outside root is
// touched whatever the stream says: containerd's archive.Apply resolves every
// parent, hard-link target and symlink on the way inside root (continuity's
// fs.RootPath), drops trusted.* attributes, and ours are the limits.
//
// The whole stream is read to its end, also behind the tar's end, since the
// diff id covers all of it.
func applyLayer(ctx context.Context, root string, layer io.Reader, sv *sieve, opts ...archive.ApplyOpt) (applied, error) {
	stream, err := decompress(layer)
	if err != nil {
		return applied{}, err
	}
	defer func() { _ = stream.Close() }()
	digester := digest.Canonical.Digester()
	counted := &cappedReader{r: io.TeeReader(stream, digester.Hash()), left: sv.limits.UnpackedBytes, limit: sv.limits.UnpackedBytes}
	opts = append(opts, archive.WithFilter(sv.check))
	if _, err := archive.Apply(ctx, root, counted, opts...); err != nil {
		return applied{}, sv.locate(err)
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return applied{}, sv.locate(err)
	}
	return applied{digester.Digest(), counted.limit - counted.left}, nil
}

func (s *sieve) locate(err error) error {
	if s.entry == "" {
		return fmt.Errorf("before the first entry: %w", err)
	}
	return fmt.Errorf("entry %d %q: %w", s.entries, s.entry, err)
}

// cappedReader fails, rather than ends, when a stream is longer than allowed.
type cappedReader struct {
	r           io.Reader
	left, limit int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, invalid("stream longer than the limit of %d bytes", c.limit)
	}
	return n, err
}
