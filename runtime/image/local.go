package image

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// localContent is containerd's local content store, opened when something is
// written or listed. Opening it tries out fs-verity on the file system (a file
// written, half a millisecond), and a container that starts only reads.
type localContent struct {
	root string
	open func() (content.Store, error)
}

var _ content.Store = (*localContent)(nil)

func newLocalContent(root string) *localContent {
	return &localContent{root, sync.OnceValues(func() (content.Store, error) { return local.NewStore(root) })}
}

// ReaderAt reads a blob where the local store keeps it.
func (l *localContent) ReaderAt(_ context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, invalid("digest %q: %v", d.Digest, err)
	}
	return local.OpenReader(filepath.Join(l.root, "blobs", d.Digest.Algorithm().String(), d.Digest.Encoded()))
}

func (l *localContent) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	s, err := l.open()
	if err != nil {
		return content.Info{}, err
	}
	return s.Info(ctx, d)
}

func (l *localContent) Update(ctx context.Context, info content.Info, fields ...string) (content.Info, error) {
	s, err := l.open()
	if err != nil {
		return content.Info{}, err
	}
	return s.Update(ctx, info, fields...)
}

func (l *localContent) Walk(ctx context.Context, fn content.WalkFunc, filters ...string) error {
	s, err := l.open()
	if err != nil {
		return err
	}
	return s.Walk(ctx, fn, filters...)
}

func (l *localContent) Delete(ctx context.Context, d digest.Digest) error {
	s, err := l.open()
	if err != nil {
		return err
	}
	return s.Delete(ctx, d)
}

func (l *localContent) Status(ctx context.Context, ref string) (content.Status, error) {
	s, err := l.open()
	if err != nil {
		return content.Status{}, err
	}
	return s.Status(ctx, ref)
}

func (l *localContent) ListStatuses(ctx context.Context, filters ...string) ([]content.Status, error) {
	s, err := l.open()
	if err != nil {
		return nil, err
	}
	return s.ListStatuses(ctx, filters...)
}

func (l *localContent) Abort(ctx context.Context, ref string) error {
	s, err := l.open()
	if err != nil {
		return err
	}
	return s.Abort(ctx, ref)
}

func (l *localContent) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	s, err := l.open()
	if err != nil {
		return nil, err
	}
	return s.Writer(ctx, opts...)
}
