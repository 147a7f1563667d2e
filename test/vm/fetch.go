package vm

import (
	"context"
	"path/filepath"

	"github.com/varve-project/varve/test/vm/kernel"
)

// Fetch gets the newest kernel of the distribution into build/vm of the
// repository, if it is not there. log hears what takes time.
func Fetch(ctx context.Context, log func(string)) (*kernel.Kernel, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	return kernel.Fetch(ctx, filepath.Join(root, "build", "vm"), log)
}
