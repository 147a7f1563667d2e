package service

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// checkUnits refuses a duration that is a bare number. The decoder takes one
// for nanoseconds, since a Duration is an integer underneath, and nobody who
// writes 30 means those.
func checkUnits(path string, text []byte, config any) error {
	var raw map[string]any
	if err := toml.Unmarshal(text, &raw); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var bare []error
	for _, key := range durations(reflect.TypeOf(config), nil) {
		if number, ok := lookUp(raw, key).(int64); ok {
			bare = append(bare, fmt.Errorf(`%s: key %q: %d has no unit; write "%ds" for seconds, or ms, m, h`, path, strings.Join(key, "."), number, number))
		}
	}
	return errors.Join(bare...)
}

var durationType = reflect.TypeFor[Duration]()

// durations lists the keys of type Duration under t, tables first to last.
func durations(t reflect.Type, prefix []string) [][]string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == durationType {
		return [][]string{prefix}
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys [][]string
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case field.Anonymous && name == "":
			keys = append(keys, durations(field.Type, prefix)...)
		default:
			if name == "" {
				name = field.Name
			}
			keys = append(keys, durations(field.Type, append(prefix[:len(prefix):len(prefix)], name))...)
		}
	}
	return keys
}

func lookUp(raw map[string]any, key []string) any {
	value, ok := raw[key[0]]
	if !ok || len(key) == 1 {
		return value
	}
	table, _ := value.(map[string]any)
	return lookUp(table, key[1:])
}
