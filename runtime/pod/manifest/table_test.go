package manifest

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/pods.md")

const (
	begin = "<!-- table: go test ./runtime/pod/manifest -update -->\n"
	end   = "<!-- end of table -->\n"
)

// TestDocs holds docs/pods.md against the code.
func TestDocs(t *testing.T) {
	path := filepath.Join("..", "..", "..", "docs", "pods.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no markers %q and %q", path, begin, end)
	}
	want := before + begin + Table() + "\n" + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(data) {
		t.Errorf("%s is not what the code says; run: go test ./runtime/pod/manifest -run TestDocs -update", path)
	}
}

// TestServedPathsExist finds a served path that names no field: a typing
// error there would refuse a field that the docs say is served.
func TestServedPathsExist(t *testing.T) {
	for _, kind := range []struct {
		fields []field
		doc    any
	}{{servedPod, corev1.Pod{}}, {servedClaim, corev1.PersistentVolumeClaim{}}, {servedClass, storagev1.StorageClass{}}} {
		for _, f := range kind.fields {
			if !exists(reflect.TypeOf(kind.doc), f.path) {
				t.Errorf("%T has no field %s", kind.doc, f.path)
			}
		}
	}
}

func exists(t reflect.Type, path string) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if path == "" {
		return true
	}
	if rest, ok := strings.CutPrefix(path, "[]"); ok {
		return t.Kind() == reflect.Slice && exists(t.Elem(), strings.TrimPrefix(rest, "."))
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	name := path
	if i := strings.IndexAny(path, ".["); i >= 0 {
		name = path[:i]
	}
	for i := range t.NumField() {
		f := t.Field(i)
		n, inline := jsonName(f)
		if inline && exists(f.Type, path) {
			return true
		}
		if !inline && n == name {
			return exists(f.Type, strings.TrimPrefix(path[len(name):], "."))
		}
	}
	return false
}
