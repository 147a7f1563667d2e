package config

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// CgroupParent is the cgroup of all pods of a Root, below the root of each
// hierarchy, for an operator who wants to limit them together: /varve for the
// default Root, and for any other /varve- and 12 digits that its path decides.
// Cgroups are the machine's; by this name two suites on one machine keep
// theirs apart.
func (c Config) CgroupParent() string {
	const name = "/varve"
	root := filepath.Clean(c.Root)
	if root == Default().Root {
		return name
	}
	sum := sha256.Sum256([]byte(root))
	return name + "-" + hex.EncodeToString(sum[:6])
}
