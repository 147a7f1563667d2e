package deploy_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/varve-project/varve/cni-plugin/attach"
)

// TestConflists reads what is shipped as a runtime does, and hands it to the
// plug-in's own parser: a key that the plug-in does not know fails here.
func TestConflists(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "deploy/cni/*.conflist"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no network configuration found: %v", err)
	}
	for _, path := range files {
		list, err := libcni.ConfListFromFile(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if list.Name != "varve" || len(list.Plugins) != 1 || list.Plugins[0].Network.Type != "varve-cni" {
			t.Errorf("%s: network %q with %d plug-ins; want varve with varve-cni alone", path, list.Name, len(list.Plugins))
			continue
		}
		config, err := attach.Parse(asSent(t, list), "")
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		families := map[bool]bool{}
		for _, set := range config.Ranges {
			for _, r := range set {
				families[r.Subnet.Addr().Is4()] = true
			}
		}
		if len(families) != 2 {
			t.Errorf("%s: not both IPv4 and IPv6: %v", path, config.Ranges)
		}
	}
}

// asSent is the plug-in's standard input: libcni adds name and version of the
// list to each plug-in's part.
func asSent(t *testing.T, list *libcni.NetworkConfigList) []byte {
	t.Helper()
	var plugin map[string]any
	if err := json.Unmarshal(list.Plugins[0].Bytes, &plugin); err != nil {
		t.Fatal(err)
	}
	plugin["name"], plugin["cniVersion"] = list.Name, list.CNIVersion
	text, err := json.Marshal(plugin)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
