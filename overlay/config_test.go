package overlay

import (
	"math"
	"strings"
	"testing"
)

func TestConfigCheck(t *testing.T) {
	if err := DefaultConfig().Check(); err != nil {
		t.Errorf("the shipped configuration: %v", err)
	}
	for name, c := range map[string]struct {
		key   string
		spoil func(*Config)
	}{
		"quota":        {"quota", func(c *Config) { c.Quota = "yes" }},
		"max size":     {"max_size_unsupported", func(c *Config) { c.MaxSizeUnsupported = "" }},
		"project zero": {"project_id_first", func(c *Config) { c.ProjectIDFirst = 0 }},
		"project last": {"project_id_last", func(c *Config) { c.ProjectIDLast = math.MaxUint32 }},
		"project span": {"project_id_last", func(c *Config) { c.ProjectIDLast = c.ProjectIDFirst - 1 }},
		"rate":         {"trash_rate", func(c *Config) { c.TrashRate = -1 }},
		"percent":      {"trash_free_percent", func(c *Config) { c.TrashFreePercent = 101 }},
		"own option":   {"mount_options", func(c *Config) { c.MountOptions = []string{"xino=on", "redirect_dir=on"} }},
		"two options":  {"mount_options", func(c *Config) { c.MountOptions = []string{"xino=on,volatile"} }},
		"no option":    {"mount_options", func(c *Config) { c.MountOptions = []string{""} }},
	} {
		t.Run(name, func(t *testing.T) {
			config := DefaultConfig()
			c.spoil(&config)
			if err := config.Check(); err == nil || !strings.Contains(err.Error(), c.key) {
				t.Errorf("%v, want an error that names %s", err, c.key)
			}
		})
	}
}

// FuzzMountOption: what is let through cannot smuggle in a second option, nor
// one that the driver sets itself.
func FuzzMountOption(f *testing.F) {
	for _, o := range []string{"xino=on", "volatile", "lowerdir=/x", "a,b", "redirect_dir", "\n", "upperdir"} {
		f.Add(o)
	}
	f.Fuzz(func(t *testing.T, option string) {
		c := DefaultConfig()
		c.MountOptions = []string{option}
		if c.Check() != nil {
			return
		}
		for _, part := range strings.Split(option, ",") {
			name, _, _ := strings.Cut(part, "=")
			if _, own := ownOptions[name]; own || part != option {
				t.Fatalf("%q is let through", option)
			}
		}
	})
}
