package config_test

import (
	"testing"

	"github.com/varve-project/varve/runtime/config"
)

// TestCgroupParent: the names are in the records of what runs, in the kernel,
// so that they must not change.
func TestCgroupParent(t *testing.T) {
	for root, want := range map[string]string{
		"/var/lib/varve":  "/varve",
		"/var/lib/varve/": "/varve",
		"/srv/varve":      "/varve-68b89ad1945a",
		"/srv/varve/.":    "/varve-68b89ad1945a",
	} {
		if got := (config.Config{Root: root}).CgroupParent(); got != want {
			t.Errorf("the cgroup of root %s is %s, want %s", root, got, want)
		}
	}
}
