package manifest

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// Table is the text of docs/pods.md between its markers: every field of the
// kinds that Parse takes, served or refused, made from the lists that Parse
// itself uses and from Kubernetes' own types.
func Table() string {
	var b strings.Builder
	for _, kind := range []struct {
		name   string
		fields served
		doc    any
	}{
		{"Pod (v1)", podFields, corev1.Pod{}},
		{"PersistentVolumeClaim (v1)", claimFields, corev1.PersistentVolumeClaim{}},
		{"StorageClass (storage.k8s.io/v1)", classFields, storagev1.StorageClass{}},
	} {
		fmt.Fprintf(&b, "\n### %s\n\n| field | | |\n|---|---|---|\n", kind.name)
		kind.fields.rows(&b, reflect.TypeOf(kind.doc), "")
	}
	return b.String()
}

// rows writes one row per served field, and one per refused field whose
// parent has served ones.
func (s served) rows(b *strings.Builder, t reflect.Type, pattern string) {
	if f, ok := s[pattern]; ok {
		note := f.note
		if len(f.only) > 0 {
			note = strings.TrimSuffix("only "+strings.Join(f.only, ", ")+"; "+note, "; ")
		}
		fmt.Fprintf(b, "| `%s` | served | %s |\n", pattern, note)
		return
	}
	if pattern != "" && !s.below(pattern) {
		fmt.Fprintf(b, "| `%s` | refused | |\n", pattern)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		s.rows(b, t.Elem(), pattern)
	case reflect.Slice:
		s.rows(b, t.Elem(), pattern+"[]")
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				continue
			}
			name, inline := jsonName(f)
			if inline {
				s.rows(b, f.Type, pattern)
				continue
			}
			s.rows(b, f.Type, join(pattern, name))
		}
	}
}
