package attach

import "github.com/varve-project/varve/cni-plugin/ipam"

// plan completes the record with what the ADD is about to do.
func (s *session) plan(l *ipam.Lease) error { return nil }
