package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// maxNameBytes bounds a reference; the name part alone is at most 255 in the
// distribution spec, tag and digest come on top.
const maxNameBytes = 512

// Normalize completes a short name as Docker does: "busybox" becomes
// docker.io/library/busybox:latest. The error says what is wrong with it.
func Normalize(ref string) (string, error) {
	if len(ref) > maxNameBytes {
		return "", fmt.Errorf("image name of %d bytes: the limit is %d: %w", len(ref), maxNameBytes, errdefs.ErrInvalidArgument)
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("image name %q: want [REGISTRY/]NAME[:TAG][@DIGEST]: %w: %w", ref, err, errdefs.ErrInvalidArgument)
	}
	return named.String(), nil
}

// candidates are the full names that a person may mean by ref, best first:
// itself, then Docker's completion, then podman's for local builds.
func candidates(ref string) []string {
	names := []string{ref}
	for _, prefix := range []string{"", "localhost/"} {
		if full, err := Normalize(prefix + ref); err == nil && !slices.Contains(names, full) {
			names = append(names, full)
		}
	}
	return names
}

// isTagOnly tells a bare tag ("latest") from a reference; a layout's
// org.opencontainers.image.ref.name may be either.
func isTagOnly(ref string) bool { return !strings.ContainsAny(ref, "/:@") }

// idPrefix returns the hex of an id that a person has typed or pasted, "" when
// ref is no such thing.
func idPrefix(ref string) string {
	hex := strings.TrimPrefix(ref, "sha256:")
	if len(hex) < 4 || len(hex) > 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return ""
	}
	return hex
}
