package overlay

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMount(t *testing.T) {
	for _, c := range []struct {
		line, upper, point string
		ok                 bool
	}{
		{"29 1 0:26 / /a rw,relatime - overlay overlay rw,lowerdir=7:3,upperdir=/r/layers/9,workdir=/r/work/9,index=off\n", "/r/layers/9", "/a", true},
		{`29 1 0:26 / /a\040b\134c rw shared:1 - overlay overlay rw,lowerdir=7,upperdir=/r\040x/layers/9` + "\n", "/r x/layers/9", `/a b\c`, true},
		{"29 1 0:26 / /a ro - overlay overlay ro,lowerdir=7:3\n", "", "", false},
		{"29 1 8:1 / /upperdir=/x rw - ext4 /dev/sda1 rw\n", "", "", false},
		{"", "", "", false},
		{" - overlay \n", "", "", false},
	} {
		upper, point, ok := parseMount([]byte(c.line))
		if upper != c.upper || point != c.point || ok != c.ok {
			t.Errorf("%q gives %q, %q, %v", c.line, upper, point, ok)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add([]byte(`1 2 3:4 / /p\04 rw - overlay overlay upperdir=\777\0` + "\n"))
	f.Fuzz(func(t *testing.T, line []byte) { parseMount(line) })
}

// TestMountTableSeesChanges: the cached table follows the kernel's.
func TestMountTableSeesChanges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for _, d := range []string{"l", "u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	upper, target := filepath.Join(dir, "u"), filepath.Join(dir, "m")
	table := &mountTable{}
	defer func() { _ = table.Close() }()
	want := func(point string) {
		t.Helper()
		if got, err := table.mountPoint(upper); err != nil || got != point {
			t.Errorf("mounted at %q (%v), want %q", got, err, point)
		}
	}
	for range 3 {
		want("")
		data := "lowerdir=" + filepath.Join(dir, "l") + ",upperdir=" + upper + ",workdir=" + filepath.Join(dir, "w")
		if err := unix.Mount("overlay", target, "overlay", 0, data); err != nil {
			t.Fatal(err)
		}
		want(target)
		want(target)
		if err := unix.Unmount(target, 0); err != nil {
			t.Fatal(err)
		}
	}
	want("")
}
