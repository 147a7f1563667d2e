package devmapper

import (
	"fmt"
	"os/exec"

	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/internal/finding"
)

// Doctor says what stands in the way of serving snapshots with config on this
// machine. It looks at no pool, leaves nothing behind and needs no daemon.
func Doctor(config Config) finding.List {
	var list finding.List
	for _, fsType := range format.Types() {
		program := format.Program(fsType)
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		f := finding.Finding{
			ID: "devmapper.mkfs.missing", Severity: finding.Info, Object: program,
			Text:    fmt.Sprintf("%s is not in the path", program),
			Meaning: fmt.Sprintf("no snapshot with %s can be made from nothing", fsType),
			Remedy:  "install e2fsprogs for ext4, xfsprogs for xfs",
		}
		if fsType == config.FileSystem {
			f.Severity = finding.Error
			f.Meaning = "no image can be unpacked: " + f.Meaning
		}
		list = append(list, f)
	}
	p := IDMapped("")
	if cause := p.Cause(); cause != nil {
		list = append(list, finding.Finding{
			ID: "devmapper.idmap.unsupported", Severity: finding.Info,
			Text:    fmt.Sprintf("%s: %v", p.Name, cause),
			Meaning: "containers with user namespaces of their own cannot share layers; they are refused",
			Remedy:  p.Remedy,
		})
	}
	return list
}
