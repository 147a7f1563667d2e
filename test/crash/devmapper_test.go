package crash_test

import (
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/test/crash"
)

// devmapperCases are the calls of any snapshotter, less the rebase that a block
// snapshot cannot have, and what is this one's own.
func devmapperCases() []crash.Case[devmapperWorld] {
	on := func(do func(overlayWorld) error) func(devmapperWorld) error {
		if do == nil {
			return nil
		}
		return func(w devmapperWorld) error { return do(w.overlayWorld) }
	}
	var cases []crash.Case[devmapperWorld]
	for _, c := range overlayCases() {
		if c.Name == "CommitRebase" {
			continue
		}
		cases = append(cases, crash.Case[devmapperWorld]{
			Name: c.Name, Setup: on(c.Setup), Call: on(c.Call), Again: on(c.Again), Settle: on(c.Settle),
			Kept: on(c.Kept), Done: on(c.Done),
		})
	}
	template := func(w devmapperWorld) error { return w.prepareSized("new") }
	cases = append(cases, crash.Case[devmapperWorld]{
		Name: "Template", Setup: on(base), Call: template,
		Kept:  on(baseKept),
		Done:  on(func(w overlayWorld) error { return w.mounted("new", func(string) error { return nil }) }),
		Again: func(w devmapperWorld) error { return unless(template(w), errdefs.IsAlreadyExists) },
	})
	const larger = 600 << 20
	grow := func(w overlayWorld) error {
		return w.update("work", snapshots.LabelSnapshotMaxSize, fmt.Sprint(larger))
	}
	return append(cases, crash.Case[devmapperWorld]{
		Name: "Grow", Setup: on(base), Call: on(grow),
		Kept: on(func(w overlayWorld) error { return w.holds("work", "base-active", "work") }),
		Done: on(func(w overlayWorld) error {
			info, err := w.stat("work")
			if err == nil && info.Labels[snapshots.LabelSnapshotMaxSize] != fmt.Sprint(larger) {
				err = fmt.Errorf("labels are %v", info.Labels)
			}
			return err
		}),
	})
}

func TestDevmapper(t *testing.T) {
	needPool(t)
	crash.Run(t, 16, newDevmapper, devmapperCases())
}
