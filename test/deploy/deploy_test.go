// Package deploy_test holds what deploy/ ships against the binaries that it
// names: a unit, socket or stanza that drifted from the code fails here and
// not on somebody's node.
package deploy_test

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

const root = "../.."

// unit reads a systemd unit into section → key → values.
func unit(t *testing.T, path string) map[string]map[string][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	sections := map[string]map[string][]string{}
	current := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[' && line[len(line)-1] == ']':
			current = line[1 : len(line)-1]
			sections[current] = map[string][]string{}
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || current == "" {
				t.Fatalf("%s: %q is neither a section nor KEY=VALUE", path, line)
			}
			sections[current][key] = append(sections[current][key], value)
		}
	}
	return sections
}

// TestUnits checks that every service starts a binary of ours as Type=notify,
// and that its socket listens where the daemon's clients look.
func TestUnits(t *testing.T) {
	services, err := filepath.Glob(filepath.Join(root, "deploy/systemd/*.service"))
	if err != nil || len(services) == 0 {
		t.Fatalf("no units found: %v", err)
	}
	for _, path := range services {
		s := unit(t, path)["Service"]
		start := s["ExecStart"]
		if len(start) != 1 {
			t.Errorf("%s: ExecStart is %q, want one", path, start)
			continue
		}
		binary := filepath.Base(strings.Fields(start[0])[0])
		if _, err := os.Stat(filepath.Join(root, "cmd", binary, "main.go")); err != nil {
			t.Errorf("%s starts %q, which is no binary of ours: %v", path, start[0], err)
		}
		if !slices.Equal(s["Type"], []string{"notify"}) {
			t.Errorf("%s: Type is %q; our daemons say when they are ready", path, s["Type"])
		}
		name := strings.TrimPrefix(binary, "varve-")
		socket := unit(t, strings.TrimSuffix(path, ".service")+".socket")["Socket"]
		if want := "/run/varve/" + name + ".sock"; !slices.Equal(socket["ListenStream"], []string{want}) {
			t.Errorf("%s: the socket listens at %q, want %s", path, socket["ListenStream"], want)
		}
		if !slices.Equal(socket["SocketMode"], []string{"0600"}) {
			t.Errorf("%s: the socket's mode is %q, want 0600", path, socket["SocketMode"])
		}
	}
}

// TestContainerdDropIns checks names and sockets of the proxy plug-ins.
func TestContainerdDropIns(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "deploy/containerd/*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no drop-ins found: %v", err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var config struct {
			Version int `toml:"version"`
			Proxy   map[string]struct {
				Type         string            `toml:"type"`
				Address      string            `toml:"address"`
				Capabilities []string          `toml:"capabilities"`
				Exports      map[string]string `toml:"exports"`
			} `toml:"proxy_plugins"`
			Plugins map[string]map[string]any `toml:"plugins"`
		}
		if err := toml.NewDecoder(strings.NewReader(string(text))).DisallowUnknownFields().Decode(&config); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if config.Version < 3 {
			t.Errorf("%s: version %d; containerd 2 wants 3 or later", path, config.Version)
		}
		plugin := strings.TrimSuffix(filepath.Base(path), ".toml")
		name := strings.TrimPrefix(plugin, "varve-")
		p, ok := config.Proxy[plugin]
		if !ok {
			t.Errorf("%s declares %v, want %s", path, config.Proxy, plugin)
			continue
		}
		if p.Type != "snapshot" || p.Address != "/run/varve/"+name+".sock" || p.Exports["root"] != "/var/lib/varve/"+name {
			t.Errorf("%s: type %q, address %q, exported root %q are not those of the daemon", path, p.Type, p.Address, p.Exports["root"])
		}
		for table, keys := range config.Plugins {
			if s, ok := keys["snapshotter"]; ok && s != plugin {
				t.Errorf("%s: %s uses snapshotter %v", path, table, s)
			}
		}
	}
}
