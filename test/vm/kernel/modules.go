package kernel

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Module is one to load.
type Module struct {
	// Name is its file's, unpacked: "overlay.ko".
	Name string
	// Data is its content, unpacked.
	Data []byte
}

// Load returns the modules of the names given and what they need, in the order
// of loading. What is built into the kernel is left out.
func (k *Kernel) Load(names ...string) ([]Module, error) {
	dir := filepath.Join(k.Modules, k.Release)
	needs, err := readNeeds(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	var order []string
	for _, name := range names {
		path, ok := needs.path[name]
		if !ok {
			if slices.Contains(bareNames(string(builtin)), name) {
				continue
			}
			return nil, fmt.Errorf("kernel %s has no module %s", k.Release, name)
		}
		// The file lists what is needed in reverse.
		chain := slices.Clone(needs.of[path])
		slices.Reverse(chain)
		for _, path := range append(chain, path) {
			if !slices.Contains(order, path) {
				order = append(order, path)
			}
		}
	}
	modules := make([]Module, 0, len(order))
	for _, path := range order {
		data, err := unpack(filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		modules = append(modules, Module{Name: bareName(path) + ".ko", Data: data})
	}
	return modules, nil
}

// needs is modules.dep.
type needs struct {
	path map[string]string   // by bare name
	of   map[string][]string // paths by path
}

func readNeeds(file string) (needs, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return needs{}, err
	}
	n := needs{path: map[string]string{}, of: map[string][]string{}}
	for line := range strings.Lines(string(text)) {
		path, rest, ok := strings.Cut(line, ":")
		if !ok {
			return needs{}, fmt.Errorf("%s: line %q has no colon", file, line)
		}
		n.path[bareName(path)] = path
		n.of[path] = strings.Fields(rest)
	}
	return n, nil
}

func bareNames(list string) []string {
	names := strings.Fields(list)
	for i, path := range names {
		names[i] = bareName(path)
	}
	return names
}

// bareName is a module's name as the kernel has it: "dm_mod" of
// "kernel/drivers/md/dm-mod.ko.xz".
func bareName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// unpack reads a module, packed or not.
func unpack(path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".ko":
		return os.ReadFile(path)
	case ".gz":
		packed, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", path, err)
		}
		return io.ReadAll(r)
	}
	program := map[string]string{".xz": "xz", ".zst": "zstd"}[filepath.Ext(path)]
	if program == "" {
		return nil, fmt.Errorf("module %s: packed in a way that is not known here", path)
	}
	out, err := exec.Command(program, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("module %s: %s -dc: %w", path, program, err)
	}
	return out, nil
}
