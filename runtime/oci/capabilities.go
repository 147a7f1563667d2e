package oci

import (
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/pkg/cap"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/pod/manifest"
)

// setCapabilities changes the default set as CRI does: ALL first, then single
// names, and a name that is both added and dropped is dropped. Adding ALL
// adds what this process has: nobody can give more.
func setCapabilities(s *specs.Spec, c *corev1.Capabilities) error {
	set := slices.Clone(s.Process.Capabilities.Bounding)
	if c != nil {
		if has(c.Add, manifest.AllCapabilities) {
			all, err := cap.Current()
			if err != nil {
				return fmt.Errorf("read own capabilities: %w", err)
			}
			set = all
		}
		if has(c.Drop, manifest.AllCapabilities) {
			set = nil
		}
		for _, a := range c.Add {
			if n := manifest.CapabilityName(string(a)); n != manifest.AllCapabilities && !slices.Contains(set, n) {
				set = append(set, n)
			}
		}
		for _, d := range c.Drop {
			n := manifest.CapabilityName(string(d))
			set = slices.DeleteFunc(set, func(have string) bool { return have == n })
		}
	}
	// No inheritable ones: CVE-2022-24769.
	s.Process.Capabilities = &specs.LinuxCapabilities{
		Bounding: set, Permitted: slices.Clone(set), Effective: slices.Clone(set),
	}
	return nil
}

func has(list []corev1.Capability, name string) bool {
	return slices.ContainsFunc(list, func(c corev1.Capability) bool {
		return manifest.CapabilityName(string(c)) == name
	})
}
