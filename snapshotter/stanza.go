package snapshotter

import (
	"fmt"
	"strings"
)

// Plugin is what containerd's configuration says of a snapshotter daemon.
type Plugin struct {
	Name         string // "varve-overlay"
	Address      string // the socket
	Root         string // exported for tools that look for a snapshotter's files
	Capabilities Capabilities
}

// Stanza returns the [proxy_plugins] entry for containerd's config.toml.
func (p Plugin) Stanza() string {
	names := p.Capabilities.Stanza()
	for i, n := range names {
		names[i] = fmt.Sprintf("%q", n)
	}
	return fmt.Sprintf(`[proxy_plugins.%s]
  type = "snapshot"
  address = %q
  capabilities = [%s]
  [proxy_plugins.%s.exports]
    root = %q
`, p.Name, p.Address, strings.Join(names, ", "), p.Name, p.Root)
}
