package image

import "context"

// Rebases is what the probe says.
func (s *Store) Rebases(ctx context.Context) (bool, error) { return s.rebases(s.context(ctx)) }
