package vm

import "strings"

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
