package server

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc/metadata"
)

// OwnerHeader is the gRPC header by which a client keeps its snapshots apart
// from those of others on the same daemon. containerd's garbage collection
// removes every snapshot that its own metadata does not know, so two masters
// of one daemon would delete each other's; with the header each sees its own
// only. Clients without it, containerd among them, share what has no owner.
//
// The value is 1 to 64 letters, digits, dots, dashes and underscores.
const OwnerHeader = "varve-owner"

// ownerPrefix begins the stored keys of snapshots that have an owner; the
// owner and a slash follow. It is nobody's to use as a key.
const ownerPrefix = "varve.owner="

var ownerForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// owned shows each client the snapshots of its owner under their own names.
type owned struct{ mapped }

// prefix is what the stored keys of the calling client begin with; "" without
// an owner.
func prefix(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, OwnerHeader)
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1 || !ownerForm.MatchString(values[0]):
		return "", fmt.Errorf("gRPC header %s: %q: want one value of 1 to 64 letters, digits, '.', '-' and '_': %w", OwnerHeader, values, errdefs.ErrInvalidArgument)
	}
	return ownerPrefix + values[0] + "/", nil
}

// stored turns the client's key into the stored one; an empty key (no parent)
// stays empty.
func stored(ctx context.Context, key string) (string, error) {
	p, err := prefix(ctx)
	if err != nil || key == "" {
		return key, err
	}
	if strings.HasPrefix(key, ownerPrefix) {
		return "", fmt.Errorf("snapshot %q: keys that begin with %q are reserved: %w", key, ownerPrefix, errdefs.ErrInvalidArgument)
	}
	return p + key, nil
}

// storedTwo is stored of two keys.
func storedTwo(ctx context.Context, a, b string) (string, string, error) {
	a, err := stored(ctx, a)
	if err != nil {
		return "", "", err
	}
	b, err = stored(ctx, b)
	return a, b, err
}

// shown is the client's view of a stored record, and whether it has one.
func shown(p string, info snapshots.Info) (snapshots.Info, bool) {
	if p == "" {
		return info, !strings.HasPrefix(info.Name, ownerPrefix)
	}
	name, mine := strings.CutPrefix(info.Name, p)
	info.Name, info.Parent = name, strings.TrimPrefix(info.Parent, p)
	return info, mine
}

func (o owned) show(ctx context.Context, info snapshots.Info, err error) (snapshots.Info, error) {
	if err != nil {
		return snapshots.Info{}, err
	}
	p, err := prefix(ctx)
	info, _ = shown(p, info)
	return info, err
}

func (o owned) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	key, err := stored(ctx, key)
	if err != nil {
		return snapshots.Info{}, err
	}
	info, err := o.mapped.Stat(ctx, key)
	return o.show(ctx, info, err)
}

func (o owned) Update(ctx context.Context, info snapshots.Info, fields ...string) (snapshots.Info, error) {
	var err error
	if info.Name, info.Parent, err = storedTwo(ctx, info.Name, info.Parent); err != nil {
		return snapshots.Info{}, err
	}
	info, err = o.mapped.Update(ctx, info, fields...)
	return o.show(ctx, info, err)
}

func (o owned) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	key, err := stored(ctx, key)
	if err != nil {
		return snapshots.Usage{}, err
	}
	return o.mapped.Usage(ctx, key)
}

func (o owned) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	key, err := stored(ctx, key)
	if err != nil {
		return nil, err
	}
	return o.mapped.Mounts(ctx, key)
}

func (o owned) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	key, parent, err := storedTwo(ctx, key, parent)
	if err != nil {
		return nil, err
	}
	return o.mapped.Prepare(ctx, key, parent, opts...)
}

func (o owned) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	key, parent, err := storedTwo(ctx, key, parent)
	if err != nil {
		return nil, err
	}
	return o.mapped.View(ctx, key, parent, opts...)
}

// Commit also turns the parent of a rebase, which comes as an option.
func (o owned) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	name, key, err := storedTwo(ctx, name, key)
	if err != nil {
		return err
	}
	opts = append(opts, func(info *snapshots.Info) (err error) {
		info.Parent, err = stored(ctx, info.Parent)
		return err
	})
	return o.mapped.Commit(ctx, name, key, opts...)
}

func (o owned) Remove(ctx context.Context, key string) error {
	key, err := stored(ctx, key)
	if err != nil {
		return err
	}
	return o.mapped.Remove(ctx, key)
}

// Walk filters what the client sees, not what is stored: a filter names keys.
func (o owned) Walk(ctx context.Context, fn snapshots.WalkFunc, query ...string) error {
	p, err := prefix(ctx)
	if err != nil {
		return err
	}
	var pass filters.Filter = filters.Always
	if p != "" && len(query) > 0 {
		if pass, err = filters.ParseAll(query...); err != nil {
			return fmt.Errorf("filter %q: %w: %w", query, err, errdefs.ErrInvalidArgument)
		}
		query = nil
	}
	return o.mapped.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		info, mine := shown(p, info)
		if !mine || !pass.Match(adapt(info)) {
			return nil
		}
		return fn(ctx, info)
	}, query...)
}

// adapt gives filters the fields that the interface documents.
func adapt(info snapshots.Info) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) == 0 {
			return "", false
		}
		switch path[0] {
		case "kind":
			return strings.ToLower(info.Kind.String()), true
		case "name":
			return info.Name, true
		case "parent":
			return info.Parent, true
		case "labels":
			value, ok := info.Labels[strings.Join(path[1:], ".")]
			return value, ok
		}
		return "", false
	})
}
