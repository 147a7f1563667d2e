package image_test

import (
	"context"
	"testing"
)

// Ours takes layers in parallel. containerd's overlay can rebase as well, but
// hands a snapshot without parent out as a bind mount, on which deletions are
// lost: it must be taken for one that cannot.
func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		start func(testing.TB) *node
		want  bool
	}{"varve-overlay": {newNode, true}, "containerd's overlay": {newBuiltinNode, false}} {
		t.Run(name, func(t *testing.T) {
			n := c.start(t)
			got, err := n.open(t).Rebases(context.Background())
			if err != nil || got != c.want {
				t.Errorf("rebase: %v, %v; want %v", got, err, c.want)
			}
			nothingLeft(t, n)
		})
	}
}
