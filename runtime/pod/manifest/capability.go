package manifest

import (
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
)

// AllCapabilities is the name that stands for every capability.
const AllCapabilities = "ALL"

// CapabilityName is the kernel's name, "CAP_NET_ADMIN", of a capability as
// manifests write it, with or without the prefix.
func CapabilityName(s string) string {
	s = strings.ToUpper(s)
	if s == AllCapabilities || strings.HasPrefix(s, "CAP_") {
		return s
	}
	return "CAP_" + s
}

func knownCapability(s string) bool {
	name := CapabilityName(s)
	return name == AllCapabilities || slices.Contains(cap.Known(), name)
}
