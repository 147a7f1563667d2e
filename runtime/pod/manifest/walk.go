package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// served is a set of served fields by path.
type served map[string]field

func index(fields []field) served {
	s := served{}
	for _, f := range fields {
		s[f.path] = f
	}
	return s
}

// refuse walks every field that is set in doc and returns one error per field
// that is not served, or is served with other values only, by its path.
func (s served) refuse(doc any) []error {
	return s.walk(reflect.ValueOf(doc), "", "")
}

// walk visits v. path is the path for a person, "spec.containers[0].image",
// pattern the one in the table, "spec.containers[].image".
func (s served) walk(v reflect.Value, path, pattern string) []error {
	if f, ok := s[pattern]; ok {
		return f.check(v, path)
	}
	if path != "" && !s.below(pattern) {
		return []error{fmt.Errorf("%s: not supported", path)}
	}
	switch v.Kind() {
	case reflect.Pointer:
		return s.walk(v.Elem(), path, pattern)
	case reflect.Slice:
		var errs []error
		for i := range v.Len() {
			errs = append(errs, s.walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), pattern+"[]")...)
		}
		return errs
	case reflect.Struct:
		var errs []error
		for name, fv := range fieldsOf(v) {
			if fv.IsZero() {
				continue
			}
			errs = append(errs, s.walk(fv, join(path, name), join(pattern, name))...)
		}
		return errs
	default:
		return []error{fmt.Errorf("%s: not supported", path)}
	}
}

// below tells whether some served field lies under a pattern.
func (s served) below(pattern string) bool {
	for p := range s {
		if strings.HasPrefix(p, pattern+".") || strings.HasPrefix(p, pattern+"[]") {
			return true
		}
	}
	return false
}

func (f field) check(v reflect.Value, path string) []error {
	if len(f.only) == 0 {
		return nil
	}
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return []error{fmt.Errorf("%s: %w", path, err)}
	}
	if slices.Contains(f.only, string(data)) {
		return nil
	}
	return []error{fmt.Errorf("%s: value %s is not supported, only %s", path, data, strings.Join(f.only, " or "))}
}

// fieldsOf yields the fields of a struct in their order, under their JSON
// names, those of inlined structs among them.
func fieldsOf(v reflect.Value) func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) { eachField(v, yield) }
}

func eachField(v reflect.Value, yield func(string, reflect.Value) bool) bool {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		name, inline := jsonName(f)
		if inline {
			if !eachField(v.Field(i), yield) {
				return false
			}
			continue
		}
		if !yield(name, v.Field(i)) {
			return false
		}
	}
	return true
}

func jsonName(f reflect.StructField) (name string, inline bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" && (f.Anonymous || strings.Contains(options, "inline")) {
		return "", true
	}
	if name == "" {
		name = f.Name
	}
	return name, false
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
