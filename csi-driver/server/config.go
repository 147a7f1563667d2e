package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/varve-project/varve/csi-driver/volume"
)

// Config is the driver's own part of varve-csi's configuration.
type Config struct {
	// NodeID is what the CO calls this node; empty means the host's name.
	NodeID string `toml:"node_id" comment:"What the orchestrator calls this node (Kubernetes: the node's name); empty is the host's name."`
	// Pool is the back end's folder; empty means ROOT/pool.
	Pool string `toml:"pool" comment:"Folder for volumes and snapshots, best on XFS or btrfs; empty is ROOT/pool. Elsewhere an XFS store file is made in it."`
	// StoreSize sizes that file.
	StoreSize Size `toml:"store_size" comment:"Size of the store file, if there is one (\"200GiB\"); it grows when this does, and never shrinks. \"0\" gives a new one four fifths of the free space."`
	// Overcommit is how many bytes are promised for each byte there is.
	Overcommit float64 `toml:"overcommit" comment:"Bytes that may be promised for each byte there is. With 1.0 no volume runs out of room before it is full."`
}

// DefaultConfig is the shipped configuration.
func DefaultConfig() Config { return Config{Overcommit: 1} }

// maxOvercommit refuses a typing error rather than a policy.
const maxOvercommit = 1000

// Check refuses what cannot work. It looks at values only.
func (c *Config) Check() error {
	var errs []error
	if c.NodeID != "" {
		if err := volume.Node(c.NodeID).Check(); err != nil {
			errs = append(errs, fmt.Errorf("node_id: %w", err))
		}
	}
	if c.Pool != "" && !filepath.IsAbs(c.Pool) {
		errs = append(errs, fmt.Errorf("pool = %q: must be an absolute path", c.Pool))
	}
	if !(c.Overcommit >= 1 && c.Overcommit <= maxOvercommit) { // NaN as well
		errs = append(errs, fmt.Errorf("overcommit = %v: must be 1.0 to %d", c.Overcommit, maxOvercommit))
	}
	return errors.Join(errs...)
}

// node is the id of this node.
func (c *Config) node() (volume.Node, error) {
	id := c.NodeID
	if id == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("node_id is empty, and the host's name cannot be read: %w", err)
		}
		id = host
	}
	if err := volume.Node(id).Check(); err != nil {
		return "", fmt.Errorf("the host's name: %w; set node_id", err)
	}
	return volume.Node(id), nil
}

// pool is the back end's folder.
func (c *Config) pool(root string) string {
	if c.Pool != "" {
		return c.Pool
	}
	return filepath.Join(root, "pool")
}
