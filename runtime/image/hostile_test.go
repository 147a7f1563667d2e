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
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

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

// endless declares entry after entry; 200,000 are enough to see that reading
// stops at the limit.
func endless(w io.Writer) error {
	tw := tar.NewWriter(w)
	for i := range 200_000 {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("e", i), Mode: 0o600}); err != nil {
			return err
		}
	}
	return tw.Close()
}

func trailing(w io.Writer) error {
	if err := images.WriteTar(w, images.File("a", "a")); err != nil {
		return err
	}
	_, err := io.CopyN(w, zeroReader{}, 64<<20)
	return err
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sparse writes a GNU sparse file (PAX 0.1) without data that claims a size;
// archive/tar cannot write one itself.
func sparse(size int64) func(io.Writer) error {
	return func(w io.Writer) error {
		records := ""
		for _, kv := range [][2]string{{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.size", fmt.Sprint(size)}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", fmt.Sprintf("%d,0", size)}, {"GNU.sparse.name", "sparse"}} {
			body := " " + kv[0] + "=" + kv[1] + "\n"
			n := len(body) + 2
			if n >= 100 {
				n++
			}
			records += fmt.Sprint(n) + body
		}
		if err := rawHeader(w, "pax", 'x', int64(len(records)), 0); err != nil {
			return err
		}
		padded := records + strings.Repeat("\x00", (512-len(records)%512)%512)
		if _, err := io.WriteString(w, padded); err != nil {
			return err
		}
		if err := rawHeader(w, "sparse", '0', 0, 0); err != nil {
			return err
		}
		_, err := w.Write(make([]byte, 1024))
		return err
	}
}

// bigPax writes an extended header of 2 MiB, which archive/tar would refuse to.
func bigPax(w io.Writer) error {
	body := " SCHILY.xattr.user.x=" + strings.Repeat("x", 2<<20) + "\n"
	body = fmt.Sprint(len(body)+7) + body
	if err := rawHeader(w, "pax", 'x', int64(len(body)), 0); err != nil {
		return err
	}
	if _, err := io.WriteString(w, body+strings.Repeat("\x00", (512-len(body)%512)%512)); err != nil {
		return err
	}
	return images.WriteTar(w, images.File("x", ""))
}

func bigDevice(w io.Writer) error {
	if err := rawHeader(w, "dev", '3', 0, 1<<40); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, 1024))
	return err
}

// rawHeader writes a ustar header block that archive/tar would refuse to.
func rawHeader(w io.Writer, name string, kind byte, size, major int64) error {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	if major > 0 {
		// base-256, as GNU tar writes what octal cannot hold
		b[329] = 0x80
		for i := range 7 {
			b[336-i] = byte(major >> (8 * i))
		}
	}
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	_, err := w.Write(b)
	return err
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

// Documents that lie are refused before anything follows them.
func TestHostileDocuments(t *testing.T) {
	n, _ := hostileNode(t)
	s := n.open(t)
	base := func() images.Image {
		return images.Image{Name: hostileName, Layers: []images.Layer{{Entries: many(2, 10)}, {Entries: many(3, 10)}}}
	}
	for name, c := range map[string]struct {
		edit func(*images.Image)
		want string
	}{
		"too many layers": {func(i *images.Image) {
			for range 9 {
				i.Layers = append(i.Layers, i.Layers[0])
			}
		}, "the limit is 8"},
		"huge configuration": {func(i *images.Image) { i.Config.Env = []string{strings.Repeat("x", 70<<10)} }, "document limit of 65536"},
		"huge manifest": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Annotations = map[string]string{"a": strings.Repeat("x", 70<<10)} }
		}, "document limit of 65536"},
		"too few diff ids": {func(i *images.Image) {
			i.EditConfig = func(c *ocispec.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }
		}, "diff_ids names 1 layers"},
		"diff id that is none": {func(i *images.Image) {
			i.EditConfig = func(c *ocispec.Image) { c.RootFS.DiffIDs[1] = "sha256:../../etc" }
		}, "diff_ids[1]"},
		"layer digest with a path": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../../../etc/passwd" }
		}, "digest"},
		"layer that is not there": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Digest = digest.FromString("absent") }
		}, "layer 2 of 2"},
		"wrong layer size": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Size++ }
		}, "its descriptor says"},
		"endless layer size": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Size = math.MaxInt64 }
		}, "limit of 16777216"},
		"negative layer size": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].Size = -1 }
		}, "declared size of -1"},
		"encrypted layer": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Layers[1].MediaType += "+encrypted" }
		}, "layers[1].mediaType"},
		"no image at all": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }
		}, "not that of a container image"},
		"manifest that says it is an index": {func(i *images.Image) {
			i.EditManifest = func(m *ocispec.Manifest) { m.MediaType = ocispec.MediaTypeImageIndex }
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			img := base()
			c.edit(&img)
			_, err := s.Load(context.Background(), archive(t, img), image.LoadOptions{Unpack: true})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want an error with %q", err, c.want)
			}
			nothingLeft(t, n)
		})
	}
}

// The archive itself may lie, too.
func TestHostileArchives(t *testing.T) {
	n, _ := hostileNode(t)
	s := n.open(t)
	fine := filepath.Join(t.TempDir(), "layout")
	if err := images.WriteLayout(fine, layered(hostileName, images.Gzip)); err != nil {
		t.Fatal(err)
	}
	var files []images.Entry
	err := filepath.WalkDir(fine, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		name, _ := filepath.Rel(fine, path)
		files = append(files, images.File(name, string(body)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(match string, e images.Entry) []images.Entry {
		out := append([]images.Entry{}, files...)
		for i := range out {
			if strings.HasPrefix(out[i].Name, match) {
				out[i] = e
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		entries []images.Entry
		want    string
	}{
		"blob that is not its digest": {append([]images.Entry{images.File("blobs/sha256/"+digest.FromString("x").Encoded(), "y")}, files...), "unexpected commit digest"},
		"no index":                    {replaced("index.json", images.File("other", "x")), "without index.json"},
		"another layout version":      {replaced("oci-layout", images.File("oci-layout", `{"imageLayoutVersion":"2.0.0"}`)), `"2.0.0"`},
		"index too large":             {replaced("index.json", images.File("index.json", strings.Repeat(" ", 70<<10))), "document limit"},
		"index that is no JSON":       {replaced("index.json", images.File("index.json", "[")), "index.json"},
		"index that is a manifest":    {replaced("index.json", images.File("index.json", `{"manifests":[],"layers":[]}`)), "manifest as well"},
		"too many entries":            {many(51, 1), "limit of 50"},
		"entry too large":             {[]images.Entry{images.Zeros("x", 17<<20)}, "limit of 16777216"},
		"nothing in it":               {nil, "not an image archive"},
		"docker file outside":         {[]images.Entry{images.Symlink("l", "../../etc/passwd"), images.File("manifest.json", `[{"Config":"l","Layers":["/etc/passwd"]}]`)}, "not in the archive"},
		"docker symlink loop":         {[]images.Entry{images.Symlink("a", "b"), images.Symlink("b", "a"), images.File("manifest.json", `[{"Config":"a"}]`)}, "not in the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.tar")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := images.WriteTar(f, c.entries...); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = s.Load(context.Background(), path, image.LoadOptions{Unpack: true})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want an error with %q", err, c.want)
			}
			nothingLeft(t, n)
		})
	}
}

// A layout folder is a stranger's as well: its files may be pipes and links.
func TestHostileLayout(t *testing.T) {
	n, canary := hostileNode(t)
	s := n.open(t)
	layout := filepath.Join(t.TempDir(), "layout")
	if err := images.WriteLayout(layout, layered(hostileName, images.Gzip)); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(layout, "blobs", "sha256", "*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for name, plant := range map[string]func(path string) error{
		"pipe":    func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"symlink": func(path string) error { return os.Symlink(filepath.Join(canary, "bird"), path) },
		"folder":  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, b := range blobs {
				if err := os.Remove(b); err != nil {
					t.Fatal(err)
				}
				if err := plant(b); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Load(context.Background(), layout, image.LoadOptions{Unpack: true}); err == nil {
				t.Error("it was loaded")
			}
			nothingLeft(t, n)
		})
	}
}
