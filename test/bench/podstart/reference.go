package podstart

import (
	"fmt"
	"os"
	"path/filepath"
)

// referenceNetwork is the reference plug-ins' chain with what varve-cni does
// in one: bridge, masquerade, leases of both families, host ports.
const referenceNetwork = `{
  "cniVersion": "1.0.0",
  "name": "bench",
  "plugins": [
    {
      "type": "bridge", "bridge": "bench0", "isGateway": true, "ipMasq": true,
      "ipam": {
        "type": "host-local", "dataDir": %q,
        "ranges": [[{"subnet": "10.231.0.0/16"}], [{"subnet": "fd00:231::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// writeReferenceNetwork writes the list into confDir, leases into dataDir.
func writeReferenceNetwork(confDir, dataDir string) error {
	if err := os.MkdirAll(confDir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf(referenceNetwork, dataDir)
	return os.WriteFile(filepath.Join(confDir, "10-bench.conflist"), []byte(text), 0o644)
}
