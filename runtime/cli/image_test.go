package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/images"
)

// imageNode is a running snapshotter and a command line over a store.
type imageNode struct {
	t   *testing.T
	dir string
}

func newImageNode(t *testing.T) imageNode {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/run", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config, socket := filepath.Join(dir, "empty.toml"), filepath.Join(dir, "overlay.sock")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(built.Path(t, "varve-overlay"), "--config", config, "--root", filepath.Join(dir, "overlay"), "--address", socket)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Signal(os.Interrupt); _ = daemon.Wait() })
	for range 500 {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return imageNode{t, dir}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("varve-overlay does not listen")
	return imageNode{}
}

// run runs `varve image ARGS` and returns what it said and its exit code.
func (n imageNode) run(stdin []byte, args ...string) (out, errOut string, code int) {
	n.t.Helper()
	var o, e bytes.Buffer
	cmd := exec.Command(built.Path(n.t, "varve"), append([]string{"--root", n.dir, "--state", n.dir, "image"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// must is run of what has to work.
func (n imageNode) must(stdin []byte, args ...string) (out, errOut string) {
	n.t.Helper()
	out, errOut, code := n.run(stdin, args...)
	if code != 0 {
		n.t.Fatalf("varve image %v: exit %d\n%s%s", args, code, out, errOut)
	}
	return out, errOut
}

func TestImageCommands(t *testing.T) {
	n := newImageNode(t)
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := images.WriteArchive(path, images.Image{Name: "example.org/app:1", Layers: []images.Layer{
		{Entries: []images.Entry{images.File("hello", "world")}, Compression: images.Gzip},
	}}); err != nil {
		t.Fatal(err)
	}
	out, progress := n.must(nil, "load", path)
	if out != "example.org/app:1\n" {
		t.Errorf("load printed %q, want the name alone", out)
	}
	if strings.Contains(progress, "\x1b") || !strings.Contains(progress, "unpacked layer") {
		t.Errorf("progress in a pipe: %q; want plain lines", progress)
	}
	archive, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := n.must(archive, "load", "--name", "app:2", "-"); out != "docker.io/library/app:2\n" {
		t.Errorf("load from standard input printed %q", out)
	}
	out, _ = n.must(nil, "ls")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "NAME ") {
		t.Errorf("ls:\n%s", out)
	}
	if out, _ := n.must(nil, "ls", "-o", "wide"); !strings.Contains(out, "sha256:") || !strings.Contains(out, "linux/") {
		t.Errorf("ls -o wide:\n%s", out)
	}
	for format, parse := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": func(b []byte, v any) error { return yaml.Unmarshal(b, v) }} {
		var all []struct{ Name string }
		out, _ := n.must(nil, "ls", "-o", format)
		if err := parse([]byte(out), &all); err != nil || len(all) != 2 {
			t.Errorf("ls -o %s: %v\n%s", format, err, out)
		}
	}
	if out, _ := n.must(nil, "inspect", "app:2"); !strings.Contains(out, `"name": "docker.io/library/app:2"`) {
		t.Errorf("inspect:\n%s", out)
	}

	at := filepath.Join(t.TempDir(), "at")
	if out, _ := n.must(nil, "mount", "example.org/app:1", at); out != at+"\n" {
		t.Errorf("mount printed %q", out)
	}
	if body, err := os.ReadFile(filepath.Join(at, "hello")); err != nil || string(body) != "world" {
		t.Errorf("in the mount: %q, %v", body, err)
	}
	if err := os.WriteFile(filepath.Join(at, "new"), nil, 0o644); err == nil {
		t.Error("the mount is writable")
	}
	if out, _ := n.must(nil, "mount"); !strings.Contains(out, at) {
		t.Errorf("list of mounts:\n%s", out)
	}
	n.must(nil, "unmount", "example.org/app:1")
	if _, err := os.Stat(at); !os.IsNotExist(err) {
		t.Errorf("after unmount the folder is there: %v", err)
	}
	n.must(nil, "rm", "example.org/app:1")
	if out, _ := n.must(nil, "prune", "--all", "--dry-run"); !strings.Contains(out, "would remove image docker.io/library/app:2") {
		t.Errorf("prune --all --dry-run:\n%s", out)
	}
	n.must(nil, "prune", "--all")
	if out, _ := n.must(nil, "ls", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("after prune --all: %s", out)
	}
}

// What is wrong is said with the remedy; 1 is failed, 2 is misused.
func TestImageErrors(t *testing.T) {
	n := newImageNode(t)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"rm", "nothing"}, 1, "varve image pull nothing"},
		{[]string{"inspect", "nothing"}, 1, "nothing"},
		{[]string{"unmount", "/nowhere"}, 1, "varve image mount"},
		{[]string{"load", "/nowhere.tar"}, 1, "/nowhere.tar"},
		{[]string{"load", os.DevNull}, 1, "not an image archive"},
		{[]string{"pull", "localhost:1/none"}, 1, "localhost:1/none"},
		{[]string{"pull", "BAD NAME"}, 1, "BAD NAME"},
		{[]string{"pull"}, 2, "usage"},
		{[]string{"load", "a", "b"}, 2, "usage"},
		{[]string{"ls", "--bogus"}, 2, "bogus"},
		{[]string{"ls", "-o", "xml"}, 2, "xml"},
	} {
		out, errOut, code := n.run(nil, c.args...)
		if code != c.code || !strings.Contains(errOut, c.says) {
			t.Errorf("varve image %v: exit %d, %q %q; want %d and %q", c.args, code, out, errOut, c.code, c.says)
		}
	}
}
