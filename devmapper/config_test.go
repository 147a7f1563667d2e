package devmapper

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestConfigCheck(t *testing.T) {
	if err := DefaultConfig().Check(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"file_system":     func(c *Config) { c.FileSystem = "ext2" },
		"base_size":       func(c *Config) { c.BaseSize = 1 << 20 },
		"base_size =":     func(c *Config) { c.BaseSize++ },
		"mkfs_timeout":    func(c *Config) { c.MkfsTimeout = 0 },
		"spare_templates": func(c *Config) { c.SpareTemplates = -1 },
		"trash_rate":      func(c *Config) { c.TrashRate = -1 },
		"ext4_options":    func(c *Config) { c.Ext4Options = []string{"/dev/sda"} },
		"xfs_options":     func(c *Config) { c.XFSOptions = []string{""} },
		"mount_options":   func(c *Config) { c.MountOptions = []string{"noload"} },
		"mount_options =": func(c *Config) { c.MountOptions = []string{"a,b"} },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Check(); !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v, want InvalidArgument that names it", key, err)
		}
	}
}

func TestSizeText(t *testing.T) {
	for text, want := range map[string]Size{"10GiB": 10 << 30, "10G": 10 << 30, "512MiB": 512 << 20, "4096": 4096, "1 GB": 1e9, "7B": 7} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d (%v), want %d", text, s, err, want)
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%d reads as %d (%v) after %q", s, again, err, s)
		}
	}
	for _, text := range []string{"", "-1", "G", "1.5GiB", "10PiB", "9223372036854775808", "9000000TiB"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}
