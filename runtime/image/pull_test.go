package image_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/images"
)

// registry runs the distribution's docker-registry on loopback.
func registry(t *testing.T) (address string) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q}\n", dir, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 500 {
		if resp, err := http.Get("http://" + address + "/v2/"); err == nil {
			_ = resp.Body.Close()
			return address
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

func TestPullFromRegistry(t *testing.T) {
	n := newNode(t)
	s, ctx := n.open(t), context.Background()
	address := registry(t)
	ref := address + "/some/layered:1"
	path := archive(t, layered("example.org/layered:1", images.Gzip))
	out, err := exec.Command("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", "oci-archive:"+path, "docker://"+ref).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo: %v\n%s", err, out)
	}
	img, err := s.Pull(ctx, ref, image.PullOptions{Unpack: true})
	if err != nil {
		t.Fatal(err)
	}
	checkLayered(t, s, img)
	pinned := address + "/some/layered@" + img.Target.Digest.String()
	if again, err := s.Pull(ctx, pinned, image.PullOptions{}); err != nil || again.ID != img.ID || again.Name != pinned {
		t.Errorf("by digest: %+v, %v", again, err)
	}
	if _, err := s.Pull(ctx, address+"/some/layered:2", image.PullOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("a tag that is not there: %v", err)
	}
	for _, name := range []string{ref, pinned} {
		if err := s.Remove(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	nothingLeft(t, n)
}

// fakeRegistry serves one image from a layout; serve may take over a blob.
func fakeRegistry(t *testing.T, img images.Image, serve func(w http.ResponseWriter, r *http.Request, d digest.Digest, path string) bool) (ref string) {
	t.Helper()
	layout := filepath.Join(t.TempDir(), "layout")
	if err := images.WriteLayout(layout, img); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	d := index.Manifests[0]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		if name == "v1" {
			name = d.Digest.String()
			w.Header().Set("Content-Type", d.MediaType)
			w.Header().Set("Docker-Content-Digest", name)
		}
		id, err := digest.Parse(name)
		if err != nil {
			return
		}
		if id == d.Digest {
			w.Header().Set("Content-Type", d.MediaType)
		}
		path := filepath.Join(layout, "blobs", "sha256", id.Encoded())
		if serve == nil || !serve(w, r, id, path) {
			http.ServeFile(w, r, path)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/image:v1"
}

// bigLayer is an image with a layer of some size that does not compress.
func bigLayer() images.Image {
	body := make([]byte, 3<<20)
	for i, x := 0, uint32(1); i < len(body); i++ {
		x = x*1664525 + 1013904223
		body[i] = byte(x >> 24)
	}
	return images.Image{Name: "example.org/big:1", Layers: []images.Layer{{Entries: []images.Entry{images.File("big", string(body))}}}}
}

// A connection that breaks is taken up where it broke.
func TestPullResumes(t *testing.T) {
	n := newNode(t)
	var breaks atomic.Int32
	var ranges atomic.Value
	ref := fakeRegistry(t, bigLayer(), func(w http.ResponseWriter, r *http.Request, d digest.Digest, path string) bool {
		info, err := os.Stat(path)
		if err != nil || info.Size() < 1<<20 || r.Method != http.MethodGet {
			return false
		}
		if from := r.Header.Get("Range"); from != "" {
			ranges.Store(from)
			return false
		}
		breaks.Add(1)
		f, err := os.Open(path)
		if err != nil {
			return false
		}
		defer func() { _ = f.Close() }()
		w.Header().Set("Content-Length", fmt.Sprint(info.Size()))
		_, _ = io.CopyN(w, f, 1<<20)
		panic(http.ErrAbortHandler)
	})
	s := n.open(t)
	if _, err := s.Pull(context.Background(), ref, image.PullOptions{Unpack: true}); err != nil {
		t.Fatal(err)
	}
	from, _ := ranges.Load().(string)
	if breaks.Load() != 1 || !strings.HasPrefix(from, "bytes=") || strings.HasPrefix(from, "bytes=0-") {
		t.Errorf("%d connections broke, the range asked for after it was %q; want 1, and one from the middle", breaks.Load(), from)
	}
}

// A registry that sends other bytes than it promised gets nothing in.
func TestHostileRegistry(t *testing.T) {
	n, _ := hostileNode(t)
	big := func(path string) bool { info, err := os.Stat(path); return err == nil && info.Size() > 1<<20 }
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request, digest.Digest, string) bool{
		"other bytes": func(w http.ResponseWriter, r *http.Request, _ digest.Digest, path string) bool {
			if !big(path) {
				return false
			}
			data, _ := os.ReadFile(path)
			data[len(data)/2] ^= 1
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
			return true
		},
		"endless bytes": func(w http.ResponseWriter, r *http.Request, _ digest.Digest, path string) bool {
			if !big(path) {
				return false
			}
			_, _ = io.CopyN(w, zeroReader{}, 1<<30)
			return true
		},
		"too few bytes": func(w http.ResponseWriter, r *http.Request, _ digest.Digest, path string) bool {
			if !big(path) {
				return false
			}
			_, _ = io.WriteString(w, "short")
			return true
		},
		"another manifest": func(w http.ResponseWriter, r *http.Request, _ digest.Digest, path string) bool {
			if big(path) || r.Method != http.MethodGet {
				return false
			}
			_, _ = io.WriteString(w, `{"schemaVersion":2}`)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			ref := fakeRegistry(t, bigLayer(), serve)
			s := n.open(t)
			_, err := s.Pull(context.Background(), ref, image.PullOptions{Unpack: true})
			if err == nil || !strings.Contains(err.Error(), ref) {
				t.Errorf("%v; want an error that names %s", err, ref)
			}
			nothingLeft(t, n)
		})
	}
}
