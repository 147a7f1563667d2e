package server

import (
	"context"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/csi-driver/node"
	"github.com/varve-project/varve/csi-driver/volume/file"
	"github.com/varve-project/varve/internal/finding"
)

// tools are the programs that the driver runs, and what goes wrong without.
var tools = []struct{ name, need string }{
	{"mkfs.ext4", "No volume with ext4 can be made."},
	{"mkfs.xfs", "No volume with XFS can be made, and no store for a pool that cannot reflink."},
	{"e2fsck", "A damaged ext4 is not repaired when it is staged."},
	{"resize2fs", "An ext4 cannot be grown offline."},
}

// Doctor reports what is wrong with the driver's part of this node. It changes
// nothing, and works with and without a running daemon.
func Doctor(ctx context.Context, root string, c Config) (finding.List, error) {
	list := append(missingTools(), growth()...)
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	records, staged, err := node.Doctor(filepath.Join(root, "node"), boot)
	if err != nil {
		return nil, err
	}
	pool, err := file.Doctor(ctx, c.file(root), staged)
	if err != nil {
		return nil, err
	}
	list = append(append(list, records...), pool...)
	list.Sort()
	return list, nil
}

func missingTools() (list finding.List) {
	for _, tool := range tools {
		if _, err := exec.LookPath(tool.name); err != nil {
			list = append(list, finding.Finding{
				ID: "csi.tools.missing", Severity: finding.Error, Object: tool.name,
				Text: tool.name + " is not in PATH.", Meaning: tool.need,
				Command: "apt-get install -y e2fsprogs xfsprogs",
			})
		}
	}
	return list
}

// growth says when ext4 volumes do not grow while they are in use. The daemon
// is taken to have the capabilities that its doctor has.
func growth() finding.List {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil || data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		return nil
	}
	return finding.List{{
		ID: "csi.ext4.grows-offline", Severity: finding.Info,
		Text:    "This process has no CAP_SYS_RESOURCE, without which the kernel grows no mounted ext4.",
		Meaning: "An ext4 volume that is expanded while in use grows when it is staged next. XFS and raw devices grow at once.",
		Remedy:  "Give the daemon CAP_SYS_RESOURCE.",
	}}
}
