package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Private keeps what is written below dir (an absolute folder) inside the
// node: an overlay over it, whose upper layer is in the node's own /run. It
// is for folders whose place a peer has fixed, such as /etc/cni.
func Private(dir string) error {
	work := filepath.Join("/run/node-private", strings.ReplaceAll(dir, "/", "-"))
	upper, scratch := filepath.Join(work, "upper"), filepath.Join(work, "work")
	for _, d := range []string{upper, scratch} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, scratch)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("make %s the node's own: mount overlay: %w", dir, err)
	}
	return nil
}
