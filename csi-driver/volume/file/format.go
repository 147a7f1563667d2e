package file

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

// format makes a file system in a new, sparse image. Nothing is discarded or
// zeroed: a sparse file reads as zeros and holds no blocks.
func format(ctx context.Context, fsType, image string) error {
	switch fsType {
	case mount.Ext4:
		return formatExt4(ctx, image)
	case mount.XFS:
		return run(ctx, "mkfs.xfs", "-q", "-K", image)
	}
	return fmt.Errorf("fs_type %q: only ext4 and xfs are served: %w", fsType, volume.ErrInvalid)
}

func formatExt4(ctx context.Context, image string) error {
	// -m 0: no blocks kept back for root, who is not the one to use them.
	base := []string{"-q", "-m", "0", "-E"}
	const options = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
	err := run(ctx, "mkfs.ext4", append(base, options+",assume_storage_prezeroed=1", image)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && strings.Contains(err.Error(), "assume_storage_prezeroed") {
		// e2fsprogs before 1.47 does not know it; then the kernel zeroes the
		// inode tables after the first mount.
		return run(ctx, "mkfs.ext4", append(base, options, image)...)
	}
	return err
}
