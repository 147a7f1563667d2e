package pool

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestConfigCheck(t *testing.T) {
	good := DefaultConfig()
	good.VolumeGroup = "vg0"
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		words  string
	}{
		"nowhere":          {func(c *Config) { c.VolumeGroup = "" }, "no pool is configured pool create"},
		"twice":            {func(c *Config) { c.DataDevice, c.MetadataDevice = "/dev/a", "/dev/b" }, "volume_group data_device one pool only"},
		"half":             {func(c *Config) { c.VolumeGroup, c.DataDevice = "", "/dev/a" }, "metadata_device needs both"},
		"one device":       {func(c *Config) { c.VolumeGroup, c.DataDevice, c.MetadataDevice = "", "/dev/a", "/dev/a" }, "two devices"},
		"relative":         {func(c *Config) { c.VolumeGroup, c.LoopDirectory = "", "here" }, "loop_directory absolute"},
		"no group":         {func(c *Config) { c.VolumeGroup = "a b" }, "volume_group a b"},
		"an option":        {func(c *Config) { c.VolumeGroup = "-y" }, "volume_group -y"},
		"no volume":        {func(c *Config) { c.VolumeGroup, c.ThinPool = "", "vg" }, "thin_pool GROUP/VOLUME"},
		"negative floor":   {func(c *Config) { c.MinFreeData = -1 }, "min_free_data -1"},
		"floor of all":     {func(c *Config) { c.MinFreeMetadata = 100 }, "min_free_metadata 100"},
		"extend by 0":      {func(c *Config) { c.ExtendBy = 0 }, "extend_at extend_by"},
		"extend at 100":    {func(c *Config) { c.ExtendAt = 100 }, "extend_at 100"},
		"no behaviour":     {func(c *Config) { c.OutOfSpace = "" }, "out_of_space error queue"},
		"other behaviour":  {func(c *Config) { c.OutOfSpace = "wait" }, "out_of_space wait"},
		"negative queuing": {func(c *Config) { c.QueueFor = -1 }, "queue_for"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			c.change(&bad)
			err := bad.Check()
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("%v: want InvalidArgument", err)
			}
			for _, w := range strings.Fields(c.words) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v: does not say %q", err, w)
				}
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	for where, c := range map[string]Config{
		"vg0/varve-pool":    {VolumeGroup: "vg0"},
		"vg0/thin":          {ThinPool: "/dev/vg0/thin"},
		"/dev/disk/by-id/x": {DataDevice: "/dev/disk/by-id/x", MetadataDevice: "/dev/y"},
		"/srv/pool":         {LoopDirectory: "/srv/pool/"},
	} {
		v, err := Describe(c)
		if err != nil || v.Where() != where {
			t.Errorf("Describe(%+v): %q, %v; want %q", c, v.Where(), err, where)
		}
	}
	v, _ := Describe(Config{VolumeGroup: "vg0"})
	if v.Catalog != CatalogVolume || !v.Kind.LVM() {
		t.Errorf("%+v", v)
	}
	if v, _ = Describe(Config{ThinPool: "vg0/thin"}); v.Catalog != "thin-catalog" {
		t.Errorf("%+v", v)
	}
}

func TestMapperName(t *testing.T) {
	if got := mapperName("a-b", "varve-pool"); got != "a--b-varve--pool" {
		t.Error(got)
	}
}
