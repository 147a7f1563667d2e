//go:build !failpoint

package failpoint

// Enabled tells whether this binary was built with the tag "failpoint".
const Enabled = false

// Hit marks one step of a mutating call; see the package comment.
func Hit(string) {}
