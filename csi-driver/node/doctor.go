package node

import (
	"fmt"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/mount"
)

// Doctor reports records that do not fit what is mounted, and returns a
// function that tells which volumes are staged in this boot. It changes
// nothing. A folder that is not there holds no records.
func Doctor(dir, bootID string) (list finding.List, staged func(id string) bool, err error) {
	s := records{dir, bootID}
	known := map[string]bool{}
	staged = func(id string) bool { return known[id] }
	ids, err := s.ids()
	if err != nil {
		return nil, staged, nil
	}
	for _, id := range ids {
		r, ofThisBoot, err := s.load(id)
		if err != nil {
			list = append(list, finding.Finding{
				ID: "csi.node.unreadable", Severity: finding.Error, Object: s.path(id), Text: err.Error(),
				Meaning: "The daemon does not start: it cannot tell what of the volume is mounted.",
				Remedy:  "Unmount what is left of the volume, then remove the file.",
			})
			continue
		}
		if !ofThisBoot {
			continue // void; the daemon's next start removes it
		}
		known[id] = true
		lost, err := missing(r)
		if err != nil {
			return nil, staged, err
		}
		for _, path := range lost {
			list = append(list, finding.Finding{
				ID: "csi.mount.missing", Severity: finding.Warning, Object: path,
				Text:    fmt.Sprintf("Volume %s should be here, but nothing is mounted.", id),
				Meaning: "Somebody unmounted it behind the driver's back; the workload sees an empty folder.",
				Remedy:  "Restart the workload: staging and publishing again mounts it.",
			})
		}
	}
	return list, staged, nil
}

// missing returns the paths of a finished record that carry no mount.
func missing(r record) ([]string, error) {
	var want []string
	if r.Phase == ready && !r.Capability.Block {
		want = append(want, r.Staging)
	}
	for _, path := range r.paths() {
		if r.Targets[path].Phase == ready {
			want = append(want, path)
		}
	}
	var lost []string
	for _, path := range want {
		at, err := mount.At(path)
		if err != nil {
			return nil, err
		}
		if len(at) == 0 {
			lost = append(lost, path)
		}
	}
	return lost, nil
}
