package vm

import (
	"slices"
	"strings"
)

// fresh are the folders that a guest has of its own, so that it sees nothing of
// the programs that run on this machine.
var fresh = []string{"/tmp", "/run", "/var"}

// Hidden says whether a guest would not see an absolute path because it lies
// below a folder that is fresh there, and which folder or file directly below
// that one to keep (Options.Keep) so that it does.
func Hidden(path string) (keep string, hidden bool) {
	for _, dir := range fresh {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok && rest != "" {
			first, _, _ := strings.Cut(rest, "/")
			return dir + "/" + first, true
		}
	}
	return "", false
}

// Show adds to Keep what a guest must keep to see an absolute path.
func (o *Options) Show(path string) {
	if top, hidden := Hidden(path); hidden && !slices.Contains(o.Keep, top) {
		// Not in place: the caller's slice may be shared.
		o.Keep = append(slices.Clone(o.Keep), top)
	}
}
