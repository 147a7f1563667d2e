package volume

import (
	"fmt"
	"slices"
	"strings"
)

// What Kubernetes adds to a volume's context by itself: the provisioner's
// identity and, where the driver's CSIDriver object asks for it, the pod.
var contextPrefixes = []string{"csi.storage.k8s.io/", "storage.kubernetes.io/"}

// CheckContext refuses a volume_context that this driver did not give out (it
// gives out none), so that a hand-written PersistentVolume does not carry
// settings that nobody heeds.
func CheckContext(context map[string]string) error {
	var unknown []string
	for key, value := range context {
		if key == "csi.storage.k8s.io/ephemeral" && value == "true" {
			return fmt.Errorf("volume_context[%q]: inline ephemeral volumes are not served: %w", key, ErrInvalid)
		}
		if !slices.ContainsFunc(contextPrefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("volume_context[%q]: unknown; this driver's volumes have none: %w", unknown[0], ErrInvalid)
	}
	return nil
}
