package image

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
)

// labelPull on a lease is the name that is being pulled. It makes the lease
// outlive its owner for a while, so that a pull that was interrupted or killed
// goes on where it was.
const labelPull = "varve.dev/pull"

// pullPatience is how long such a lease waits for its pull to be repeated.
const pullPatience = 24 * time.Hour

// begin takes a lease for one operation: whatever is written under the context
// returned stays until end is called or the process dies. A lease has no term
// of its own: its owner holds a key lock, and a collection drops every lease
// whose lock is free. pull is the name being pulled, or "". After end(true)
// the lease is as if its owner had died.
func (s *Store) begin(ctx context.Context, pull string) (_ context.Context, end func(keep bool), err error) {
	id := uuid.NewString()
	lock, err := s.locks.lock(ctx, leaseKey(id))
	if err != nil {
		return nil, nil, err
	}
	opts := []leases.Opt{leases.WithID(id)}
	if pull != "" {
		opts = append(opts, leases.WithLabel(labelPull, pull))
	}
	lease, err := s.leases.Create(ctx, opts...)
	if err != nil {
		lock.Release()
		return nil, nil, fmt.Errorf("lease for image content: %w", err)
	}
	end = func(keep bool) {
		if !keep {
			// Should this fail, the next collection finds the lock free.
			_ = s.leases.Delete(context.WithoutCancel(ctx), lease)
		}
		lock.Release()
	}
	return leases.WithLease(ctx, id), end, nil
}

// hold puts content that is in the store already under the lease in ctx.
func (s *Store) hold(ctx context.Context, d digest.Digest) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	return s.leases.AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: d.String(), Type: "content"})
}

// dropDeadLeases removes the leases of owners that are gone, except those of
// pulls that may still be repeated. done is the name of one that has been, or
// whose image is removed; "*" is all of them.
func (s *Store) dropDeadLeases(ctx context.Context, m leases.Manager, done string) error {
	all, err := m.List(ctx)
	if err != nil {
		return err
	}
	for _, lease := range all {
		pull := lease.Labels[labelPull]
		if pull != "" && pull != done && done != "*" && time.Since(lease.CreatedAt) < pullPatience {
			continue
		}
		lock, err := s.locks.try(leaseKey(lease.ID))
		if errdefs.IsUnavailable(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = m.Delete(ctx, lease)
		lock.Release()
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func leaseKey(id string) string { return "lease/" + id }
