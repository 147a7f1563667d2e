package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter"
)

// classify gives errors of the kernel the meaning that containerd acts upon.
// Its garbage collection skips a snapshot that answers FAILED_PRECONDITION
// and stops altogether at any other error (containerd #3923), so "busy" must
// never come out as UNKNOWN.
func classify(err error) error {
	switch {
	case err == nil, isClassed(err):
		return err
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w (look at the kernel log; a file system with errors goes read-only): %w", err, errdefs.ErrUnavailable)
	}
	return err
}

func isClassed(err error) bool {
	for _, is := range []func(error) bool{
		errdefs.IsAlreadyExists, errdefs.IsNotFound, errdefs.IsInvalidArgument, errdefs.IsFailedPrecondition,
		errdefs.IsNotImplemented, errdefs.IsUnavailable, errdefs.IsResourceExhausted, errdefs.IsCanceled, errdefs.IsDeadlineExceeded,
	} {
		if is(err) {
			return true
		}
	}
	return false
}

func toGRPC(err error) error { return errgrpc.ToGRPC(classify(err)) }

// mapped is a driver whose errors are classified.
type mapped struct{ driver snapshotter.Driver }

func (m mapped) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	i, err := m.driver.Stat(ctx, key)
	return i, classify(err)
}

func (m mapped) Update(ctx context.Context, info snapshots.Info, fields ...string) (snapshots.Info, error) {
	i, err := m.driver.Update(ctx, info, fields...)
	return i, classify(err)
}

func (m mapped) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	u, err := m.driver.Usage(ctx, key)
	return u, classify(err)
}

func (m mapped) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	l, err := m.driver.Mounts(ctx, key)
	return l, classify(err)
}

func (m mapped) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	l, err := m.driver.Prepare(ctx, key, parent, opts...)
	return l, classify(err)
}

func (m mapped) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	l, err := m.driver.View(ctx, key, parent, opts...)
	return l, classify(err)
}

func (m mapped) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return classify(m.driver.Commit(ctx, name, key, opts...))
}

func (m mapped) Remove(ctx context.Context, key string) error {
	return classify(m.driver.Remove(ctx, key))
}

func (m mapped) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return classify(m.driver.Walk(ctx, fn, filters...))
}

func (m mapped) Cleanup(ctx context.Context) error { return classify(m.driver.Cleanup(ctx)) }

// Close is nobody's to call through a socket.
func (m mapped) Close() error { return nil }
