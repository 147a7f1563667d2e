package overlay

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// layout names everything below the root. Layers lie directly in one
// directory under their number, written in base 36: containerd's mount
// compacts a lowerdir list to paths relative to the layers' common directory,
// and with names of four or five letters all 500 layers that the kernel takes
// fit into the one page of options that mount(2) takes.
type layout struct{ root string }

// short is the directory name of the snapshot with the store's number id.
func short(id string) string {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return id // the store numbers in decimal; this is no number of its
	}
	return strconv.FormatUint(n, 36)
}

// layer is a snapshot's own files: the upper directory while it is active, a
// lower one once it is committed.
func (l layout) layer(id string) string { return filepath.Join(l.layers(), short(id)) }
func (l layout) layers() string         { return filepath.Join(l.root, "layers") }

// work is overlay's scratch directory beside an active snapshot's layer.
func (l layout) work(id string) string { return filepath.Join(l.works(), short(id)) }
func (l layout) works() string         { return filepath.Join(l.root, "work") }

// usage is the note of what a committed layer takes; see usage.go.
func (l layout) usage(id string) string { return filepath.Join(l.usages(), short(id)) }
func (l layout) usages() string         { return filepath.Join(l.root, "usage") }

// bottom is the empty directory under a snapshot without parent: an empty
// lowerdir= is EINVAL.
func (l layout) bottom() string { return filepath.Join(l.root, "bottom") }

// blank is the empty directory that a View without parent shows.
func (l layout) blank() string { return filepath.Join(l.root, "blank") }

func (l layout) trash() string    { return filepath.Join(l.root, "trash") }
func (l layout) metadata() string { return filepath.Join(l.root, "metadata.db") }
func (l layout) bootID() string   { return filepath.Join(l.root, "boot-id") }
func (l layout) scratch() string  { return filepath.Join(l.root, "scratch") }

// newLayout refuses a root that overlay's mount options cannot express.
func newLayout(root string) (layout, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return layout{}, fmt.Errorf("root %q: %w", root, err)
	}
	if i := strings.IndexAny(abs, ",:\\\n"); i >= 0 {
		return layout{}, fmt.Errorf("root %q: contains %q, which overlay's mount options use as a separator; choose another path: %w", root, abs[i], errdefs.ErrInvalidArgument)
	}
	if filepath.Dir(abs) == abs {
		return layout{}, fmt.Errorf("root %q: must be a directory of its own: %w", root, errdefs.ErrInvalidArgument)
	}
	return layout{abs}, nil
}
