// Package config says where the reference runtime finds its state and the
// plug-ins that it drives. It holds values only; it opens nothing.
package config

import (
	"os"
	"path/filepath"
)

// Config is the runtime's view of a node. Two suites with different Root and
// State run side by side on one machine.
type Config struct {
	// Root is kept over a reboot: /var/lib/varve. The runtime's own part is
	// ROOT/runtime; daemons started by `varve up` use ROOT/NAME.
	Root string `toml:"root"`
	// State is lost at a reboot: /run/varve. Sockets are STATE/NAME.sock,
	// the runtime's own part is STATE/runtime.
	State string `toml:"state"`
	// Snapshotter is the plug-in's short name ("overlay", "devmapper",
	// "aufs") or the name containerd knows ("varve-overlay").
	Snapshotter string `toml:"snapshotter"`
	// SnapshotterAddress is its socket; empty means STATE/NAME.sock.
	SnapshotterAddress string `toml:"snapshotter_address"`
	// CSIAddress is the CSI driver's socket; empty means STATE/csi.sock.
	CSIAddress string `toml:"csi_address"`
	// CNIConfDir holds the network configuration lists; empty means
	// /etc/cni/net.d when that has a list for Network, else
	// ROOT/runtime/cni/net.d, where `varve up` writes the default one.
	CNIConfDir string `toml:"cni_conf_dir"`
	// CNIBinDirs are searched for CNI plug-ins, after the folder of the
	// varve binary itself.
	CNIBinDirs []string `toml:"cni_bin_dirs"`
	// Network is the name of the CNI network that pods join.
	Network string `toml:"network"`
	// OCIRuntime is a name in PATH or a path: runc, crun.
	OCIRuntime string `toml:"oci_runtime"`
}

// Default is the shipped configuration.
func Default() Config {
	return Config{
		Root:        "/var/lib/varve",
		State:       "/run/varve",
		Snapshotter: "varve-overlay",
		CNIBinDirs:  []string{"/opt/cni/bin", "/usr/lib/cni"},
		Network:     "varve",
		OCIRuntime:  "runc",
	}
}

// RuntimeRoot is the runtime's own folder that outlives a reboot.
func (c Config) RuntimeRoot() string { return filepath.Join(c.Root, "runtime") }

// RuntimeState is the runtime's own folder that a reboot clears.
func (c Config) RuntimeState() string { return filepath.Join(c.State, "runtime") }

// SnapshotterName is the plug-in's full name, "varve-overlay".
func (c Config) SnapshotterName() string { return fullName(c.Snapshotter) }

// SnapshotterSocket is the socket of the snapshotter.
func (c Config) SnapshotterSocket() string {
	if c.SnapshotterAddress != "" {
		return c.SnapshotterAddress
	}
	return filepath.Join(c.State, shortName(c.Snapshotter)+".sock")
}

// CSISocket is the socket of the CSI driver.
func (c Config) CSISocket() string {
	if c.CSIAddress != "" {
		return c.CSIAddress
	}
	return filepath.Join(c.State, "csi.sock")
}

// BinDirs are the folders searched for plug-in binaries: that of the running
// binary first, then CNIBinDirs.
func (c Config) BinDirs() []string {
	var dirs []string
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	return append(dirs, c.CNIBinDirs...)
}

const prefix = "varve-"

func shortName(name string) string {
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		return name[len(prefix):]
	}
	return name
}

func fullName(name string) string { return prefix + shortName(name) }
