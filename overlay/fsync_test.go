package overlay

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestSyncFew(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "a/b/f"), nil, 0o000))
	if err := syncFew(t.Context(), dir); err != nil {
		t.Errorf("a few files: %v", err)
	}
	must(t, os.Symlink("/dev/null", filepath.Join(dir, "link")))
	if err := syncFew(t.Context(), dir); !errors.Is(err, errMany) {
		t.Errorf("with a symbolic link: %v, want errMany", err)
	}
	must(t, os.Remove(filepath.Join(dir, "link")))
	for i := range fewFiles {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644))
	}
	if err := syncFew(t.Context(), dir); !errors.Is(err, errMany) {
		t.Errorf("many files: %v, want errMany", err)
	}
	if err := syncFew(t.Context(), filepath.Join(dir, "no")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no layer: %v, want NotExist", err)
	}
}

func TestDirtyBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal:  9 kB\nDirty:                12 kB\nWriteback:             3 kB\nWritebackTmp:  7 kB\n": 15 << 10,
		"MemTotal:  9 kB\nDirty:  0 kB\nWriteback:  0 kB\n":                                                0,
		"MemTotal:  9 kB\nDirty:  0 kB\n":                                                                  math.MaxInt64,
		"\nDirty:  many kB\nWriteback:  0 kB\n":                                                            math.MaxInt64,
		"":                                                                                                 math.MaxInt64,
	} {
		if got := dirtyBytes([]byte(text)); got != want {
			t.Errorf("%q: %d bytes, want %d", text, got, want)
		}
	}
	text, err := os.ReadFile("/proc/meminfo")
	must(t, err)
	if dirtyBytes(text) == math.MaxInt64 {
		t.Errorf("this kernel's text is not understood: %s", text)
	}
}
