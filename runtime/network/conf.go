package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/config"
)

// systemConfDir is where containerd, CRI-O and podman look too.
const systemConfDir = "/etc/cni/net.d"

// ErrNoNetwork means that no configuration list of the wanted name was found.
var ErrNoNetwork = errors.New("no such CNI network")

// OwnConfDir is where WriteDefault puts the default network.
func OwnConfDir(c config.Config) string { return filepath.Join(c.RuntimeRoot(), "cni", "net.d") }

// ConfDirs are the folders searched for configuration lists, in order.
func ConfDirs(c config.Config) []string {
	if c.CNIConfDir != "" {
		return []string{c.CNIConfDir}
	}
	return []string{systemConfDir, OwnConfDir(c)}
}

// conf finds the list of the configured network. The error wraps
// ErrNoNetwork when there is none.
func (n *CNI) conf() (*libcni.NetworkConfigList, error) {
	for _, dir := range ConfDirs(n.cfg) {
		list, err := find(dir, n.cfg.Network)
		if list != nil || err != nil {
			return list, err
		}
	}
	return nil, fmt.Errorf("%w: %q in %s; `varve up` writes the default one",
		ErrNoNetwork, n.cfg.Network, strings.Join(ConfDirs(n.cfg), " or "))
}

// find looks for a list by the name inside the files, as the field does. A
// file that cannot be read is an error only when no other one serves.
func find(dir, name string) (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(dir, []string{".conflist"})
	if err != nil {
		return nil, fmt.Errorf("CNI configuration: %w", err)
	}
	var errs []error
	for _, file := range files {
		list, err := libcni.NetworkConfFromFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("CNI configuration %s: %w", file, err))
			continue
		}
		if list.Name == name {
			return list, nil
		}
	}
	return nil, errors.Join(errs...)
}

// defaultConf is the network that `varve up` writes: a bridge with IPv4 and
// IPv6, everything from outside masqueraded, host ports.
const defaultConf = `{
  "cniVersion": "1.1.0",
  "name": %q,
  "plugins": [
    {
      "type": "varve-cni",
      "bridge": "varve0",
      "isDefaultGateway": true,
      "ipMasq": true,
      "hairpinMode": true,
      "ipam": {
        "dataDir": %q,
        "ranges": [
          [ { "subnet": "10.89.0.0/16" } ],
          [ { "subnet": "fd89:7661:7276::/64" } ]
        ],
        "routes": [ { "dst": "0.0.0.0/0" }, { "dst": "::/0" } ]
      },
      "capabilities": { "portMappings": true, "bandwidth": true, "ips": true, "mac": true }
    }
  ]
}
`

// WriteDefault writes the default network unless a list of the configured
// name is found already. It returns the path written, "" when none was.
func WriteDefault(c config.Config) (string, error) {
	_, err := New(c).conf()
	if err == nil {
		return "", nil
	}
	if !errors.Is(err, ErrNoNetwork) {
		return "", err
	}
	dir := OwnConfDir(c)
	if c.CNIConfDir != "" {
		dir = c.CNIConfDir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("CNI configuration: %w", err)
	}
	path := filepath.Join(dir, "10-"+c.Network+".conflist")
	text := fmt.Sprintf(defaultConf, c.Network, filepath.Join(c.Root, "cni"))
	failpoint.Hit("runtime.up.cni-conf.before")
	err = atomicfile.Write(path, []byte(text), 0o644)
	failpoint.Hit("runtime.up.cni-conf.after")
	if err != nil {
		return "", fmt.Errorf("CNI configuration: %w", err)
	}
	return path, nil
}
