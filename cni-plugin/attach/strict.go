package attach

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// opaque are objects whose inside is not for this plug-in to judge: the
// runtime's own, or checked where they are read.
var opaque = []string{"capabilities", "prevResult", "args.cni.labels"}

// checkKeys walks the configuration and refuses every key that Keys does not
// have or refuses, by its path.
func checkKeys(data []byte) error {
	treatment := make(map[string]KeyInfo, len(Keys))
	for _, k := range Keys {
		treatment[k.Path] = k
	}
	return walkKeys(treatment, "", data)
}

// walkKeys descends into objects and lists. pattern is the path with [] for
// every list.
func walkKeys(known map[string]KeyInfo, pattern string, data []byte) error {
	data = bytes.TrimSpace(data)
	switch {
	case len(data) > 0 && data[0] == '[':
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			return fail(types.ErrDecodingFailure, "%s: %v", pattern, err)
		}
		for _, item := range list {
			if err := walkKeys(known, pattern+"[]", item); err != nil {
				return err
			}
		}
	case len(data) > 0 && data[0] == '{':
		var object map[string]json.RawMessage
		if err := json.Unmarshal(data, &object); err != nil {
			return fail(types.ErrDecodingFailure, "%s: %v", pattern, err)
		}
		for _, name := range sortedKeys(object) {
			path := strings.TrimPrefix(pattern+"."+name, ".")
			if err := checkKey(known, path, object[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkKey(known map[string]KeyInfo, path string, value json.RawMessage) error {
	info, ok := known[path]
	if !ok {
		return fail(types.ErrInvalidNetworkConfig, "%s: unknown key; docs/cni.md lists the keys that varve-cni serves", printable(path))
	}
	if info.Treatment == Refused {
		if isEmpty(value) {
			return nil
		}
		return fail(types.ErrUnsupportedField, "%s: not supported: %s", path, info.Text)
	}
	if slices.Contains(opaque, path) {
		return nil
	}
	if path == "args" {
		// Beside "cni", args holds other conventions' objects.
		var args struct {
			CNI json.RawMessage `json:"cni"`
		}
		if err := json.Unmarshal(value, &args); err != nil {
			return fail(types.ErrDecodingFailure, "args: %v", err)
		}
		return walkKeys(known, "args.cni", args.CNI)
	}
	return walkKeys(known, path, value)
}

// isEmpty tells whether a refused key says nothing, as generated
// configurations often have it.
func isEmpty(value json.RawMessage) bool {
	switch strings.Join(strings.Fields(string(value)), "") {
	case "null", "false", "0", `""`, "[]", "{}":
		return true
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// printable keeps a hostile key from filling a log.
func printable(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Trim(fmt.Sprintf("%q", s), `"`)
}
