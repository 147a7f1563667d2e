package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/version"
)

// Subject is a plug-in, or a chain of them, with its configuration.
type Subject struct {
	// Name and Version are the network's.
	Name    string
	Version string
	// Plugins are the plug-ins' configurations, as they stand in the list.
	Plugins []map[string]any
	// Path are the folders with the executables.
	Path []string
	// Patience bounds the wait for what a plug-in may do late, and for
	// addresses that rest before they are given out again.
	Patience time.Duration
}

// Load reads a configuration list, or the configuration of one plug-in.
func Load(file string, path []string, patience time.Duration) (*Subject, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list struct {
		CNIVersion string           `json:"cniVersion"`
		Name       string           `json:"name"`
		Plugins    []map[string]any `json:"plugins"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if list.Plugins == nil {
		var one map[string]any
		if err := json.Unmarshal(data, &one); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list.Plugins = []map[string]any{one}
	}
	s := &Subject{Name: list.Name, Version: list.CNIVersion, Plugins: list.Plugins, Path: path, Patience: patience}
	if s.Name == "" || s.Version == "" {
		return nil, fmt.Errorf("%s: name and cniVersion must be given", file)
	}
	for i, plugin := range s.Plugins {
		kind, _ := plugin["type"].(string)
		if _, err := s.executable(kind); err != nil {
			return nil, fmt.Errorf("%s: plugins[%d]: %w", file, i, err)
		}
	}
	return s, nil
}

func (s *Subject) executable(kind string) (string, error) {
	for _, dir := range s.Path {
		path := filepath.Join(dir, kind)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && kind != "" {
			return path, nil
		}
	}
	return "", fmt.Errorf("no executable for type %q in %v", kind, s.Path)
}

// lacks tells why a case does not apply, or nothing.
func (s *Subject) lacks(c Case) string {
	if c.Since != "" {
		if ok, err := version.GreaterThanOrEqualTo(s.Version, c.Since); err != nil || !ok {
			return fmt.Sprintf("the configuration's cniVersion is %s; the verb came with %s", s.Version, c.Since)
		}
	}
	if _, err := s.small(); c.Small && err != nil {
		return err.Error()
	}
	if c.Ports && !slices.ContainsFunc(s.Plugins, func(p map[string]any) bool { return able(p, "portMappings") }) {
		return "no plug-in of the configuration has the capability portMappings"
	}
	return ""
}

func able(plugin map[string]any, capability string) bool {
	all, _ := plugin["capabilities"].(map[string]any)
	on, _ := all[capability].(bool)
	return on
}

// smallSubnet has five addresses beside network, gateway and broadcast.
const (
	smallSubnet = "10.123.45.0/29"
	smallFits   = 5
)

// small is the subject with a handful of addresses, for plug-ins whose
// address management speaks host-local's language.
func (s *Subject) small() (*Subject, error) {
	ipam, _ := s.Plugins[0]["ipam"].(map[string]any)
	_, ranges := ipam["ranges"]
	_, subnet := ipam["subnet"]
	if !ranges && !subnet {
		return nil, errors.New("the first plug-in has no ipam.ranges or ipam.subnet that could be made small")
	}
	few := clone(s.Plugins[0])
	block, _ := few["ipam"].(map[string]any)
	for _, key := range []string{"subnet", "rangeStart", "rangeEnd", "gateway"} {
		delete(block, key)
	}
	block["ranges"] = []any{[]any{map[string]any{"subnet": smallSubnet}}}
	other := *s
	other.Name += "-small"
	other.Plugins = append([]map[string]any{few}, s.Plugins[1:]...)
	return &other, nil
}

// other is the same plug-in with another network beside the first: another
// name, another bridge if it has one, other addresses.
func (s *Subject) other() *Subject {
	first := clone(s.Plugins[0])
	if _, has := first["bridge"]; has {
		first["bridge"] = "conf-other0"
	}
	if block, ok := first["ipam"].(map[string]any); ok && (block["ranges"] != nil || block["subnet"] != nil) {
		delete(block, "subnet")
		block["ranges"] = []any{[]any{map[string]any{"subnet": "10.124.0.0/24"}}}
	}
	other := *s
	other.Name += "-other"
	other.Plugins = append([]map[string]any{first}, s.Plugins[1:]...)
	return &other
}

// clone copies a JSON value.
func clone[T any](value T) T {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // it came from JSON
	}
	var copied T
	if err := json.Unmarshal(data, &copied); err != nil {
		panic(err)
	}
	return copied
}
