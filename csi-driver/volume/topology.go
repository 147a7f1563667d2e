package volume

import (
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

const (
	// DriverName is the name that COs know this driver by.
	DriverName = "csi.varve.dev"
	// TopologyKey says which node a volume lives on.
	TopologyKey = "topology.csi.varve.dev/node"
	// maxSegment is the longest value of a topology segment.
	maxSegment = 63
)

// Node is the node that the driver runs on, by the id that the CO knows.
type Node string

// Check refuses an id that cannot be a topology segment: up to 63 letters,
// digits, '-', '_' and '.', with a letter or digit at both ends.
func (n Node) Check() error {
	word := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	bad := fmt.Errorf("node id %q: want 1 to %d letters, digits, '-', '_' or '.', with a letter or digit at both ends", string(n), maxSegment)
	if n == "" || len(n) > maxSegment || !word(n[0]) || !word(n[len(n)-1]) {
		return bad
	}
	for i := range len(n) {
		if c := n[i]; !word(c) && c != '-' && c != '_' && c != '.' {
			return bad
		}
	}
	return nil
}

// Topology is where this node's volumes can be used.
func (n Node) Topology() *csi.Topology {
	return &csi.Topology{Segments: map[string]string{TopologyKey: string(n)}}
}

// In tells whether this node is part of t. A segment that this driver does not
// know cannot be met.
func (n Node) In(t *csi.Topology) bool {
	for key, value := range t.GetSegments() {
		if key != TopologyKey || value != string(n) {
			return false
		}
	}
	return true
}

// Accept answers ErrNoRoom when what is required cannot be had on this node:
// the specification's code for a topology that is valid but not served.
func (n Node) Accept(r *csi.TopologyRequirement) error {
	if len(r.GetRequisite()) == 0 {
		return nil
	}
	for _, t := range r.GetRequisite() {
		if n.In(t) {
			return nil
		}
	}
	return fmt.Errorf("accessibility_requirements.requisite: this node (%s=%s) is not among them: %w", TopologyKey, string(n), ErrNoRoom)
}
