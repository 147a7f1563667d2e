package setup

import (
	"fmt"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
)

// Snippet is the daemon's configuration for the pool: the keys that say where
// it lies. All others keep their shipped values, which `varve-devmapper config
// default` prints.
func (c *Create) Snippet() string {
	var b strings.Builder
	b.WriteString("# The pool that `varve-devmapper pool create` made.\n[pool]\n")
	at := c.location()
	for _, key := range []struct{ name, value string }{
		{"volume_group", at.VolumeGroup}, {"thin_pool", at.ThinPool},
		{"data_device", at.DataDevice}, {"metadata_device", at.MetadataDevice},
		{"loop_directory", at.LoopDirectory},
	} {
		if key.value != "" {
			fmt.Fprintf(&b, "%s = %q\n", key.name, key.value)
		}
	}
	return b.String()
}

func (s *site) planConfig(p *Plan) {
	if s.WriteConfig {
		p.add("config", "write the daemon's configuration", WriteFile{s.Config, s.Snippet(), 0o644})
	}
}

// Location is the [pool] table of the created pool, for whoever opens it next.
func (c *Create) Location() pool.Config { return c.location() }
