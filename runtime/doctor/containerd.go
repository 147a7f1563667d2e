package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/varve-project/varve/internal/finding"
)

var (
	dropinIgnored = define(Definition{
		ID: "containerd.dropin.ignored", Severity: finding.Error,
		Text:    "containerd does not read {object}: {config} does not import it",
		Meaning: "containerd follows the `imports` of its main file only, and knows no drop-in folder without it; it says \"snapshotter not loaded: {plugin}\".",
		Remedy:  "Put `imports = [\"/etc/containerd/conf.d/*.toml\"]` at the top of {config} (make that file, with `version = 3`, where there is none), and restart containerd.",
	})
	configBroken = define(Definition{
		ID: "containerd.config.broken", Severity: finding.Error,
		Text:    "containerd's configuration {object} cannot be read: {reason}",
		Meaning: "containerd will not start with it.",
		Remedy:  "Mend the line that the reason names.",
	})
	stanzaType = define(Definition{
		ID: "containerd.stanza.type", Severity: finding.Error,
		Text:    "{object}: proxy_plugins.{plugin} has type {have}, and it is a snapshotter",
		Meaning: "containerd does not offer it as a snapshotter: \"snapshotter not loaded: {plugin}\".",
		Remedy:  "Replace the stanza by what the plug-in prints, and restart containerd.",
		Command: "{binary} stanza",
	})
	stanzaAddress = define(Definition{
		ID: "containerd.stanza.address", Severity: finding.Error,
		Text:    "{object}: proxy_plugins.{plugin} points at {have}, where nobody serves; the plug-in of this suite is at {want}",
		Meaning: "Every call of containerd to this snapshotter fails.",
		Remedy:  "Replace the stanza by what the plug-in prints, and restart containerd.",
		Command: "{binary} stanza",
	})
	stanzaTooMuch = define(Definition{
		ID: "containerd.stanza.capability-untrue", Severity: finding.Error,
		Text:    "{object}: proxy_plugins.{plugin} claims {have}, which this kernel or this root cannot do",
		Meaning: "containerd relies on it: images fail to unpack, or user-namespaced pods fail to start.",
		Remedy:  "Replace the stanza by what the plug-in prints, and restart containerd.",
		Command: "{binary} stanza",
	})
	stanzaTooLittle = define(Definition{
		ID: "containerd.stanza.capability-missing", Severity: finding.Warning,
		Text:    "{object}: proxy_plugins.{plugin} does not name {have}, which the plug-in can do here",
		Meaning: "Without rebase layers are unpacked one after another; without remap-ids user-namespaced pods copy the whole image.",
		Remedy:  "Replace the stanza by what the plug-in prints, and restart containerd.",
		Command: "{binary} stanza",
	})
)

const (
	containerdConfig  = "/etc/containerd/config.toml"
	containerdDropins = "/etc/containerd/conf.d"
)

// stanza is one [proxy_plugins] entry, as containerd reads it.
type stanza struct {
	Type         string   `toml:"type"`
	Address      string   `toml:"address"`
	Capabilities []string `toml:"capabilities"`
	// file is where it stands.
	file string
}

type containerdFile struct {
	Imports      []string          `toml:"imports"`
	ProxyPlugins map[string]stanza `toml:"proxy_plugins"`
}

// containerd compares its configuration with what the plug-ins offer. Without
// a configuration there is nothing to compare: containerd may not be here.
func (n *node) containerd(ctx context.Context) (finding.List, error) {
	read, list := n.containerdFiles()
	stanzas := map[string]stanza{}
	for _, file := range read {
		for name, s := range file.ProxyPlugins {
			stanzas[name] = s // a later file replaces the whole entry
		}
	}
	list = append(list, n.ignoredDropins(read)...)
	var errs []error
	for _, name := range sortedKeys(stanzas) {
		if !strings.HasPrefix(name, "varve-") {
			continue
		}
		found, err := n.stanza(ctx, name, stanzas[name])
		list = append(list, found...)
		errs = append(errs, err)
	}
	return list, errors.Join(errs...)
}

// containerdFiles reads the main file and what it imports, the way containerd
// does (resolveImports in cmd/containerd/server/config of v2.4): a pattern is
// expanded, a relative path starts at the importing file, no file twice.
func (n *node) containerdFiles() (map[string]containerdFile, finding.List) {
	var list finding.List
	read := map[string]containerdFile{}
	pending := []string{containerdConfig}
	for len(pending) > 0 {
		path := pending[0]
		pending = pending[1:]
		if _, done := read[path]; done {
			continue
		}
		file, err := readContainerdFile(path)
		if errors.Is(err, fs.ErrNotExist) && path == containerdConfig {
			break
		}
		if err != nil {
			list = append(list, n.found(configBroken, path, "reason", err.Error()))
			continue
		}
		read[path] = file
		for _, pattern := range file.Imports {
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(path), pattern)
			}
			matches := []string{filepath.Clean(pattern)}
			if strings.Contains(pattern, "*") {
				matches, _ = filepath.Glob(pattern)
			}
			pending = append(pending, matches...)
		}
	}
	return read, list
}

func readContainerdFile(path string) (containerdFile, error) {
	var file containerdFile
	data, err := os.ReadFile(path)
	if err != nil {
		return file, err
	}
	if err := toml.Unmarshal(data, &file); err != nil {
		return file, err
	}
	for name, s := range file.ProxyPlugins {
		s.file = path
		file.ProxyPlugins[name] = s
	}
	return file, nil
}

// ignoredDropins finds stanzas of ours in files that nothing imports.
func (n *node) ignoredDropins(read map[string]containerdFile) finding.List {
	var list finding.List
	dropins, _ := filepath.Glob(filepath.Join(containerdDropins, "*.toml"))
	for _, path := range dropins {
		if _, imported := read[path]; imported {
			continue
		}
		file, err := readContainerdFile(path)
		if err != nil {
			list = append(list, n.found(configBroken, path, "reason", err.Error()))
			continue
		}
		for _, name := range sortedKeys(file.ProxyPlugins) {
			if strings.HasPrefix(name, "varve-") {
				list = append(list, n.found(dropinIgnored, path, "config", containerdConfig, "plugin", name))
			}
		}
	}
	return list
}

func (n *node) stanza(ctx context.Context, plugin string, s stanza) (finding.List, error) {
	short := strings.TrimPrefix(plugin, "varve-")
	d := daemon{name: short, address: filepath.Join(n.config.State, short+".sock")}
	if plugin == n.config.SnapshotterName() {
		d.address = n.config.SnapshotterSocket()
	}
	binary, err := n.binary(plugin)
	if err != nil {
		return finding.List{n.found(binaryMissing, plugin, "folders", strings.Join(n.config.CNIBinDirs, ", "))}, nil
	}
	named := func(kind Definition, more ...string) finding.Finding {
		return n.found(kind, s.file, append(more, "plugin", plugin, "binary", binary)...)
	}
	if s.Type != "snapshot" {
		return finding.List{named(stanzaType, "have", fmt.Sprintf("%q", s.Type))}, nil
	}
	if filepath.Clean(s.Address) != filepath.Clean(d.address) {
		if _, err := health(ctx, s.Address); err != nil {
			return finding.List{named(stanzaAddress, "have", s.Address, "want", d.address)}, nil
		}
		return nil, nil // it serves: another suite beside this one
	}
	offered, err := offers(ctx, binary, "--root", n.root(d), "--address", d.address)
	if err != nil {
		return nil, err
	}
	var list finding.List
	if untrue := without(s.Capabilities, offered); len(untrue) > 0 {
		list = append(list, named(stanzaTooMuch, "have", strings.Join(untrue, ", ")))
	}
	if missing := without(offered, s.Capabilities); len(missing) > 0 {
		list = append(list, named(stanzaTooLittle, "have", strings.Join(missing, ", ")))
	}
	return list, nil
}

// offers asks the plug-in for the capabilities of its own stanza.
func offers(ctx context.Context, binary string, args ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"stanza"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, firstLine(stderr.String()))
	}
	var file containerdFile
	if err := toml.Unmarshal(out, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	entry, ok := file.ProxyPlugins[filepath.Base(binary)]
	if !ok {
		return nil, fmt.Errorf("%s: it printed no stanza of its own", cmd)
	}
	return entry.Capabilities, nil
}

func without(list, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(taken, s) })
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
