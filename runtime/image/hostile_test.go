package image_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/images"
)

const hostileName = "example.org/hostile:1"

// hostileNode has limits small enough to reach, and a canary: a folder outside
// every snapshot that no image may touch.
func hostileNode(t *testing.T) (n *node, canary string) {
	n = newNode(t)
	n.options.Limits = image.Limits{
		UnpackedBytes: 4 << 20, Entries: 1000, ArchiveFiles: 50, Layers: 8, DocumentBytes: 64 << 10, BlobBytes: 16 << 20, NameBytes: 1024, XattrBytes: 8 << 10,
	}
	canary = filepath.Join(n.dir, "canary")
	if err := os.Mkdir(canary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(canary, "bird"), []byte("alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkCanary(t, canary) })
	return n, canary
}

func checkCanary(t *testing.T, canary string) {
	t.Helper()
	files, err := os.ReadDir(canary)
	if err != nil || len(files) != 1 {
		t.Errorf("the canary's folder holds %v, %v", files, err)
	}
	info, err := os.Lstat(filepath.Join(canary, "bird"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(canary, "bird"))
	if st := info.Sys().(*syscall.Stat_t); err != nil || string(body) != "alive" || st.Nlink != 1 || info.Mode() != 0o600 {
		t.Errorf("the canary was touched: %q, %v, %d links, %v", body, err, st.Nlink, info.Mode())
	}
}

func up(path string) string { return strings.Repeat("../", 40) + strings.TrimPrefix(path, "/") }

// What points outside is kept inside: such an image loads and harms nobody.
func TestHostilePathsStayInside(t *testing.T) {
	n, canary := hostileNode(t)
	bird := filepath.Join(canary, "bird")
	inside := func(path string) string { return strings.TrimPrefix(path, "/") }
	s, ctx := n.open(t), context.Background()
	for name, c := range map[string]struct {
		entries []images.Entry
		// path must be in the image afterwards, with this in it.
		path, body string
	}{
		"dots":     {[]images.Entry{images.File(up(bird), "dead"), images.File(up(canary+"/new"), "x")}, inside(bird), "dead"},
		"absolute": {[]images.Entry{images.File(bird, "dead"), images.File(canary+"/new", "x")}, inside(bird), "dead"},
		"symlink to a folder outside": {[]images.Entry{
			images.Symlink("out", canary), images.File("out/bird", "dead"), images.File("out/new", "x"),
		}, inside(bird), "dead"},
		"relative symlink outside": {[]images.Entry{
			images.Symlink("out", up(canary)), images.File("out/bird", "dead"), images.Dir("out/new"),
		}, inside(bird), "dead"},
		"symlinks in a row": {[]images.Entry{
			images.Symlink("a", up("/")), images.Symlink("b", "a/a"), images.File("b"+bird, "dead"),
		}, inside(bird), "dead"},
		"file through a symlink that is replaced": {[]images.Entry{
			images.Symlink("bird", bird), images.File("bird", "dead"),
		}, "bird", "dead"},
		"whiteout outside": {[]images.Entry{
			images.Symlink("out", canary), images.File("in", "1"), images.Whiteout("out/bird"), images.Whiteout(up(bird) + "x"),
		}, "in", "1"},
		"opaque outside": {[]images.Entry{
			images.Symlink("out", canary), images.File("in", "1"), images.Opaque("out"), images.Opaque(up(canary)),
		}, "in", "1"},
		"modes and owners through a symlink": {[]images.Entry{
			images.Symlink("out", bird).Modes(0o777).Owner(1, 1), images.File("in", "1"),
		}, "in", "1"},
		"xattr through a symlink": {[]images.Entry{
			images.Symlink("out", bird).Xattr("trusted.overlay.opaque", "y"), images.File("in", "1"),
		}, "in", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			img := load(t, s, archive(t, images.Image{Name: hostileName, Layers: []images.Layer{{Entries: c.entries}}}))
			checkCanary(t, canary)
			look(t, s, img, func(root string) {
				if got, err := os.ReadFile(filepath.Join(root, c.path)); err != nil || string(got) != c.body {
					t.Errorf("%s in the image: %q, %v; want %q", c.path, got, err, c.body)
				}
			})
			if err := s.Remove(ctx, hostileName); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, n)
		})
	}
}

// What cannot be kept inside, or costs too much, is refused, names what it
// is, and leaves nothing.
func TestHostileLayersAreRefused(t *testing.T) {
	n, canary := hostileNode(t)
	s := n.open(t)
	fine := images.Layer{Entries: []images.Entry{images.File("fine", "1")}, Compression: images.Gzip}
	for name, c := range map[string]struct {
		layer images.Layer
		want  []string
	}{
		"hard link outside":           {images.Layer{Entries: []images.Entry{images.Hardlink("bird", filepath.Join(canary, "bird"))}}, []string{`"bird"`}},
		"hard link outside by dots":   {images.Layer{Entries: []images.Entry{images.Hardlink("bird", up(filepath.Join(canary, "bird")))}}, []string{`"bird"`}},
		"hard link through a symlink": {images.Layer{Entries: []images.Entry{images.Symlink("out", canary), images.Hardlink("b", "out/bird")}}, []string{`"b"`}},
		"endless entries":             {images.Layer{Stream: endless, Compression: images.Gzip}, []string{"entries", "1000"}},
		"zip bomb":                    {images.Layer{Entries: []images.Entry{images.Zeros("bomb", 64<<20)}, Compression: images.Gzip}, []string{`"bomb"`, "4194304"}},
		"zstd bomb":                   {images.Layer{Entries: []images.Entry{images.Zeros("bomb", 64<<20)}, Compression: images.Zstd}, []string{`"bomb"`, "4194304"}},
		"bomb of many files":          {images.Layer{Entries: many(600, 10<<10), Compression: images.Gzip}, []string{"4194304"}},
		"bomb behind the end":         {images.Layer{Stream: trailing, Compression: images.Gzip}, []string{"4194304"}},
		"sparse bomb":                 {images.Layer{Stream: sparse(1 << 50)}, []string{`"sparse"`, "4194304"}},
		"negative size":               {images.Layer{Stream: sparse(math.MinInt64)}, nil},
		"truncated gzip":              {images.Layer{Entries: many(50, 100), Compression: images.Gzip, Truncate: 20}, []string{"unexpected EOF"}},
		"truncated zstd":              {images.Layer{Entries: many(50, 100), Compression: images.Zstd, Truncate: 20}, []string{"unexpected EOF"}},
		"truncated tar":               {images.Layer{Entries: many(50, 100), Truncate: 2000}, nil},
		"garbage":                     {images.Layer{Stream: func(w io.Writer) error { _, err := io.WriteString(w, strings.Repeat("garbage", 1000)); return err }}, []string{"before the first entry"}},
		"wrong diff id":               {images.Layer{Entries: many(2, 10), DiffID: digest.FromString("other")}, []string{"diff id"}},
		"long name":                   {images.Layer{Entries: []images.Entry{images.File(strings.Repeat("d/", 600)+"f", "")}}, []string{"1024"}},
		"long link":                   {images.Layer{Entries: []images.Entry{images.Symlink("l", strings.Repeat("x", 3000))}}, []string{`"l"`, "1024"}},
		"huge xattr":                  {images.Layer{Entries: []images.Entry{images.File("x", "").Xattr("user.x", strings.Repeat("x", 9<<10))}}, []string{`"x"`, "8192"}},
		"huge pax header":             {images.Layer{Stream: bigPax}, nil},
		"unknown entry type":          {images.Layer{Entries: []images.Entry{{Header: tar.Header{Typeflag: 'Z', Name: "z"}}}}, []string{`"z"`}},
		"symlink loop":                {images.Layer{Entries: []images.Entry{images.Symlink("a", "b"), images.Symlink("b", "a"), images.File("a/x", "")}}, []string{`"a/x"`}},
		"device number":               {images.Layer{Stream: bigDevice}, []string{`"dev"`}},
		"whiteout of all":             {images.Layer{Entries: []images.Entry{images.File(".wh..", ""), images.File("a/.wh...", "")}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := archive(t, images.Image{Name: hostileName, Layers: []images.Layer{fine, c.layer, fine}})
			_, err := s.Load(context.Background(), path, image.LoadOptions{Unpack: true})
			if err == nil {
				t.Fatal("it was loaded")
			}
			for _, want := range append(c.want, hostileName, "sha256:") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			checkCanary(t, canary)
			nothingLeft(t, n)
		})
	}
}

func many(n, size int) (all []images.Entry) {
	for i := range n {
		all = append(all, images.File(fmt.Sprint("f", i), strings.Repeat(fmt.Sprint(i*7919%97), size/2+1)))
	}
	return all
}

// Device nodes and setuid programs are part of an image and are unpacked;
// what the host mounts of it makes them dead.
func TestDevicesAreDeadOnTheHost(t *testing.T) {
	n, _ := hostileNode(t)
	s, ctx := n.open(t), context.Background()
	img := load(t, s, archive(t, images.Image{Name: hostileName, Layers: []images.Layer{{Entries: []images.Entry{
		images.CharDevice("null", 1, 3), images.BlockDevice("disk", 7, 0), images.File("suid", "#!/bin/sh\n").Modes(0o4755), images.Fifo("pipe"),
	}}}}))
	m, err := s.Mount(ctx, img, filepath.Join(t.TempDir(), "at"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Unmount(ctx, m.Path); err != nil {
			t.Error(err)
		}
	}()
	if _, err := os.Open(filepath.Join(m.Path, "null")); !os.IsPermission(err) {
		t.Errorf("open of a device node: %v, want EACCES from nodev", err)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(m.Path, &fs); err != nil {
		t.Fatal(err)
	}
	const want = syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV
	if fs.Flags&want != want {
		t.Errorf("mount flags %#x lack some of %#x (ro, nosuid, nodev)", fs.Flags, want)
	}
}
