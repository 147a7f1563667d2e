package image

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
)

// begin takes a lease for one operation: whatever is written under the context
// returned stays until end is called or the process dies. A lease has no
// term: its owner holds a key lock, and a collection drops every lease whose
// lock is free.
func (s *Store) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	id := uuid.NewString()
	lock, err := s.locks.lock(ctx, leaseKey(id))
	if err != nil {
		return nil, nil, err
	}
	lease, err := s.leases.Create(ctx, leases.WithID(id))
	if err != nil {
		lock.Release()
		return nil, nil, fmt.Errorf("lease for image content: %w", err)
	}
	end = func() {
		// Should this fail, the next collection finds the lock free.
		_ = s.leases.Delete(context.WithoutCancel(ctx), lease)
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

// dropDeadLeases removes the leases of processes that are gone.
func (s *Store) dropDeadLeases(ctx context.Context, m leases.Manager) error {
	all, err := m.List(ctx)
	if err != nil {
		return err
	}
	for _, lease := range all {
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
