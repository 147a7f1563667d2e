package image_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/mount"
	builtin "github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/images"
)

func TestMain(m *testing.M) {
	_ = log.SetLevel("error") // as the command line does
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// node is a snapshotter on a socket and the options of a store over it.
type node struct {
	dir     string
	options image.Options
	daemon  *exec.Cmd
}

// newNode starts the real varve-overlay.
func newNode(t testing.TB) *node {
	t.Helper()
	return newNodeIn(t, "")
}

// newNodeIn starts it with everything in a new folder under parent.
func newNodeIn(t testing.TB, parent string) *node {
	t.Helper()
	needRoot(t)
	n := &node{dir: shortDir(t, parent)}
	n.options = image.Options{Root: filepath.Join(n.dir, "images"), Snapshotter: "varve-overlay", Address: filepath.Join(n.dir, "s.sock")}
	n.start(t)
	t.Cleanup(func() { n.stop(t) })
	return n
}

func (n *node) start(t testing.TB) {
	t.Helper()
	config := filepath.Join(n.dir, "empty.toml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	n.daemon = exec.Command(built.Path(t, "varve-overlay"), "--config", config, "--root", filepath.Join(n.dir, "snapshots"), "--address", n.options.Address)
	n.daemon.Stdout, n.daemon.Stderr = &log, &log
	if err := n.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("varve-overlay said:\n%s", log.String())
		}
	})
	for range 500 {
		if c, err := net.Dial("unix", n.options.Address); err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("varve-overlay does not listen on %s:\n%s", n.options.Address, log.String())
}

func (n *node) stop(t testing.TB) {
	t.Helper()
	if n.daemon == nil {
		return
	}
	_ = n.daemon.Process.Signal(os.Interrupt)
	_ = n.daemon.Wait()
	n.daemon = nil
}

// newBuiltinNode serves containerd's own overlay snapshotter, to show that
// the store needs nothing of ours.
func newBuiltinNode(t testing.TB) *node {
	t.Helper()
	needRoot(t)
	n := &node{dir: shortDir(t, "")}
	n.options = image.Options{Root: filepath.Join(n.dir, "images"), Snapshotter: "overlay", Address: filepath.Join(n.dir, "s.sock")}
	sn, err := builtin.NewSnapshotter(filepath.Join(n.dir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(sn))
	l, err := net.Listen("unix", n.options.Address)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); _ = sn.Close() })
	return n
}

// shortDir is a temporary folder whose sockets fit in 108 bytes.
func shortDir(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "img")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (n *node) open(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.Open(context.Background(), n.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// archive writes an OCI archive of the images and returns its path.
func archive(t testing.TB, imgs ...images.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := images.WriteArchive(path, imgs...); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads and unpacks one image that must be fine.
func load(t testing.TB, s *image.Store, path string) image.Image {
	t.Helper()
	imgs, err := s.Load(context.Background(), path, image.LoadOptions{Unpack: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(imgs) != 1 {
		t.Fatalf("loaded %d images, want 1", len(imgs))
	}
	return imgs[0]
}

// look mounts a view of the image, calls fn with the folder, and undoes both.
func look(t testing.TB, s *image.Store, img image.Image, fn func(root string)) {
	t.Helper()
	ctx, key := context.Background(), "look-"+filepath.Base(t.TempDir())
	mounts, err := s.View(ctx, key, img)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Release(ctx, key); err != nil {
			t.Error(err)
		}
	}()
	root := t.TempDir()
	if err := mount.All(mounts, root); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.UnmountAll(root, 0); err != nil {
			t.Error(err)
		}
	}()
	fn(root)
}

// owners are the names under which this node's stores keep layers. Containerd's
// snapshotter knows no owners and shows the same to all.
func (n *node) owners(t testing.TB) []string {
	t.Helper()
	if n.options.Snapshotter != "varve-overlay" {
		return []string{""}
	}
	files, err := filepath.Glob(filepath.Join(n.dir, "*", "owner"))
	if err != nil {
		t.Fatal(err)
	}
	owners := []string{""}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		owners = append(owners, strings.TrimSpace(string(text)))
	}
	return owners
}

// leftovers is everything that the store and its snapshotter still hold.
func leftovers(t testing.TB, n *node) (blobs, ingests, layers []string) {
	t.Helper()
	blobs, _ = filepath.Glob(filepath.Join(n.options.Root, "content", "blobs", "*", "*"))
	ingests, _ = filepath.Glob(filepath.Join(n.options.Root, "content", "ingest", "*"))
	conn, err := dialSnapshotter(n.options.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	layers, err = listSnapshots(conn, n.options.Snapshotter, n.owners(t)...)
	if err != nil {
		t.Fatal(err)
	}
	return blobs, ingests, layers
}

// nothingLeft fails when a store without images still holds anything.
func nothingLeft(t testing.TB, n *node) {
	t.Helper()
	blobs, ingests, layers := leftovers(t, n)
	if len(blobs)+len(ingests)+len(layers) > 0 {
		t.Errorf("left behind: blobs %v, ingests %v, snapshots %v", blobs, ingests, layers)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// contains tells whether the error's text has all of the parts.
func contains(err error, parts ...string) bool {
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			return false
		}
	}
	return true
}
