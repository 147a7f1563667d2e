package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
)

// DefaultFile is read when no other file is named; it may be absent.
const DefaultFile = "/etc/varve/varve.toml"

// Load returns Default overlaid with the TOML file at path. An empty path
// means DefaultFile, which may be absent; a file that was named must exist.
// An unknown key is an error that names it.
func Load(path string) (Config, error) {
	c := Default()
	named := path != ""
	if !named {
		path = DefaultFile
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if err := toml.NewDecoder(f).DisallowUnknownFields().Decode(&c); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return c, fmt.Errorf("read configuration %s: unknown key:\n%s\nremove it or mend its name", path, strict.String())
		}
		return c, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return c, nil
}

// Check refuses a configuration that cannot work, naming the key, its value
// and the remedy. It looks at the values only, not at the machine.
func (c Config) Check() error {
	for _, k := range []struct{ key, value string }{
		{"root", c.Root}, {"state", c.State},
	} {
		if !filepath.IsAbs(k.value) {
			return fmt.Errorf("%s = %q: must be an absolute path", k.key, k.value)
		}
	}
	for _, k := range []struct{ key, value string }{
		{"snapshotter_address", c.SnapshotterAddress},
		{"csi_address", c.CSIAddress},
		{"cni_conf_dir", c.CNIConfDir},
	} {
		if k.value != "" && !filepath.IsAbs(k.value) {
			return fmt.Errorf("%s = %q: must be an absolute path, or empty for the default", k.key, k.value)
		}
	}
	for _, k := range []struct{ key, value string }{
		{"snapshotter", c.Snapshotter}, {"network", c.Network}, {"oci_runtime", c.OCIRuntime},
	} {
		if k.value == "" {
			return fmt.Errorf("%s is empty: name one, or remove the key for the default", k.key)
		}
	}
	return nil
}
