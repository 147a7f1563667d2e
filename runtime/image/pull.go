package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

const (
	// parallelFetches is how many layers come at once, docker's own number.
	parallelFetches = 3
	// fetchTries is how often one blob is tried; each goes on where the last
	// one stopped.
	fetchTries = 4
)

// Pull fetches ref and records it under its full name. Every blob's digest is
// verified. What a Pull has fetched that was interrupted or killed is used when
// it is repeated within a day. A registry on a loopback address gets plain http without being asked.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (Image, error) {
	ctx = s.context(ctx)
	name, err := Normalize(ref)
	if err != nil {
		return Image{}, err
	}
	m, err := matcher(o.Platform)
	if err != nil {
		return Image{}, err
	}
	_, target, err := resolver(o).Resolve(ctx, name)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", name, err)
	}
	fetcher, err := resolver(o).Fetcher(ctx, name)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", name, err)
	}
	leased, end, err := s.begin(ctx, name)
	if err != nil {
		return Image{}, err
	}
	img, err := s.pull(leased, fetcher, candidate{name: name, target: target, platform: o.Platform}, m, o)
	if err != nil && ctx.Err() != nil {
		// Interrupted: the next try goes on from here.
		end(true)
		return Image{}, fmt.Errorf("pull %s: %w", name, err)
	}
	end(false)
	s.collectQuietly(ctx, name)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", name, err)
	}
	return img, nil
}

func (s *Store) pull(ctx context.Context, fetcher remotes.Fetcher, c candidate, m platforms.MatchComparer, o PullOptions) (Image, error) {
	fetch := func(ctx context.Context, d ocispec.Descriptor) error {
		return s.fetchBlob(ctx, fetcher, d, o.Progress)
	}
	var err error
	if c.resolved, err = s.follow(ctx, c.target, m, fetch); err != nil {
		return Image{}, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelFetches)
	for _, layer := range c.resolved.manifest.Layers {
		group.Go(func() error { return fetch(gctx, layer) })
	}
	if err := group.Wait(); err != nil {
		return Image{}, err
	}
	return s.admit(ctx, c, o.Unpack, o.Progress)
}

func resolver(o PullOptions) remotes.Resolver {
	plain := docker.MatchLocalhost
	if o.PlainHTTP {
		plain = docker.MatchAllHosts
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(plain)),
	})
}

// fetchBlob tries again where another try may help: a connection that broke,
// a registry that is busy.
func (s *Store) fetchBlob(ctx context.Context, fetcher remotes.Fetcher, d ocispec.Descriptor, p Progress) error {
	for try := 1; ; try++ {
		err := s.ingest(ctx, d, func() (io.ReadCloser, error) { return fetcher.Fetch(ctx, d) }, p)
		if err == nil || try == fetchTries || ctx.Err() != nil || isFinal(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(time.Duration(try) * 300 * time.Millisecond):
		}
	}
}

func isFinal(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) || errdefs.IsFailedPrecondition(err) ||
		errdefs.IsPermissionDenied(err) || errdefs.IsUnauthorized(err)
}
