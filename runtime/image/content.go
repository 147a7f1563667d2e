package image

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// sharedContent is the local content store made safe for many processes. The
// local store keeps two writers of one ref apart within its process only; two
// processes would write into one file.
type sharedContent struct {
	content.Store
	locks keyLocks
}

// Writer opens or resumes the ingest of a ref. The error wraps
// errdefs.ErrUnavailable while another process writes it;
// content.OpenWriter tries again on that.
func (c *sharedContent) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	lock, err := c.locks.try("ingest/" + o.Ref)
	if err != nil {
		return nil, err
	}
	w, err := c.Store.Writer(ctx, opts...)
	if err != nil {
		lock.Release()
		return nil, err
	}
	return &lockedWriter{w, lock}, nil
}

// lockedWriter holds its ref's lock until it is closed or committed.
type lockedWriter struct {
	content.Writer
	lock *keyLock
}

func (w *lockedWriter) Close() error {
	defer w.lock.Release()
	return w.Writer.Close()
}

// Sync flushes before the metadata's transaction begins (see
// core/metadata/content.go), so that the sync inside it is short.
func (w *lockedWriter) Sync() error {
	if s, ok := w.Writer.(content.Syncer); ok {
		return s.Sync()
	}
	return nil
}

// ingest writes one blob of known digest and size and holds it by the lease in
// ctx. A partial ingest of an earlier call is resumed when the source can seek
// or skip; the digest is verified over the whole in any case.
func (s *Store) ingest(ctx context.Context, desc ocispec.Descriptor, open func() (io.ReadCloser, error), p Progress) error {
	if err := s.checkBlob(desc); err != nil {
		return err
	}
	event := Event{Phase: Fetching, Object: desc.Digest, Kind: kindOf(desc.MediaType), Total: desc.Size}
	cw, err := s.openBlob(ctx, desc)
	if errdefs.IsAlreadyExists(err) {
		event.Phase, event.Done = Fetched, desc.Size
		p.emit(event)
		return nil
	}
	if err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	defer func() { _ = cw.Close() }()
	if err := s.fill(ctx, cw, desc, open, event, p); err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	event.Phase, event.Done = Fetched, desc.Size
	p.emit(event)
	return nil
}

// openBlob opens a blob for writing; the error wraps errdefs.ErrAlreadyExists
// when it is there. A record whose file is gone (a power cut may lose the
// rename that made it) is dropped, so that the blob comes in again.
func (s *Store) openBlob(ctx context.Context, desc ocispec.Descriptor) (content.Writer, error) {
	opts := []content.WriterOpt{content.WithRef("blob-" + desc.Digest.String()), content.WithDescriptor(desc)}
	cw, err := content.OpenWriter(ctx, s.content, opts...)
	if !errdefs.IsAlreadyExists(err) {
		return cw, err
	}
	ra, rerr := s.local.ReaderAt(ctx, desc)
	if rerr == nil {
		return nil, errors.Join(err, ra.Close())
	}
	if !errdefs.IsNotFound(rerr) {
		return nil, rerr
	}
	if derr := s.content.Delete(ctx, desc.Digest); derr != nil && !errdefs.IsNotFound(derr) {
		return nil, derr
	}
	return content.OpenWriter(ctx, s.content, opts...)
}

func (s *Store) fill(ctx context.Context, cw content.Writer, desc ocispec.Descriptor, open func() (io.ReadCloser, error), e Event, p Progress) error {
	status, err := cw.Status()
	if err != nil {
		return err
	}
	if status.Offset > desc.Size {
		// Somebody left more than the blob has: nothing of it can be right.
		if err := cw.Truncate(0); err != nil {
			return err
		}
		status.Offset = 0
	}
	if status.Offset == desc.Size {
		if err := cw.Commit(ctx, desc.Size, desc.Digest); err == nil || errdefs.IsAlreadyExists(err) {
			return nil
		}
		if err := cw.Truncate(0); err != nil {
			return err
		}
		status.Offset = 0
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	e.Done = status.Offset
	counted := &progressReader{ReadSeekCloser: seekable(r), event: e, progress: p}
	err = content.Copy(ctx, cw, counted, desc.Size, desc.Digest)
	if errdefs.IsFailedPrecondition(err) {
		// The bytes are not those of the digest: keep none of them, or every
		// later try would resume the wrong ones.
		_ = cw.Close()
		_ = s.content.Abort(ctx, "blob-"+desc.Digest.String())
	}
	return err
}

// progressReader tells of bytes as they are read.
type progressReader struct {
	io.ReadSeekCloser
	event    Event
	progress Progress
}

func (r *progressReader) Read(b []byte) (int, error) {
	n, err := r.ReadSeekCloser.Read(b)
	r.event.Done += int64(n)
	r.progress.emit(r.event)
	return n, err
}

// seekable gives every reader a Seek: one that cannot seek skips forward,
// which is all that resuming needs.
func seekable(r io.ReadCloser) io.ReadSeekCloser {
	if s, ok := r.(io.ReadSeekCloser); ok {
		return s
	}
	return &skipper{ReadCloser: r}
}

type skipper struct {
	io.ReadCloser
	at int64
}

func (s *skipper) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	s.at += int64(n)
	return n, err
}

func (s *skipper) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < s.at {
		return s.at, fmt.Errorf("stream at byte %d cannot go back: %w", s.at, errdefs.ErrNotImplemented)
	}
	_, err := io.CopyN(io.Discard, s, offset-s.at)
	return s.at, err
}
