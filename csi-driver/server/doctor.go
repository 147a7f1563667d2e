package server

import (
	"context"

	"github.com/varve-project/varve/csi-driver/volume/file"
	"github.com/varve-project/varve/internal/finding"
)

// Doctor reports what is wrong with the driver's part of this node. It changes
// nothing, and works with and without a running daemon.
func Doctor(ctx context.Context, root string, c Config) (finding.List, error) {
	return file.Doctor(ctx, c.file(root))
}
