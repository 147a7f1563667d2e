package images_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/varve-project/varve/test/images"
)

func sample() images.Image {
	return images.Image{Name: "example.org/sample:1", Layers: []images.Layer{
		{Entries: []images.Entry{images.Dir("d"), images.File("d/f", "1").Owner(3, 4).Xattr("user.a", "b")}, Compression: images.Gzip},
		{Entries: []images.Entry{images.Whiteout("d/f"), images.Opaque("d")}},
	}}
}

// Another reader takes what is written here.
func TestOthersReadIt(t *testing.T) {
	dir := t.TempDir()
	layout, oci, docker := filepath.Join(dir, "layout"), filepath.Join(dir, "oci.tar"), filepath.Join(dir, "docker.tar")
	for _, err := range []error{
		images.WriteLayout(layout, sample()), images.WriteArchive(oci, sample()), images.WriteDockerArchive(docker, sample()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := images.Busybox(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"oci:" + layout, "oci-archive:" + oci, "docker-archive:" + docker, "oci-archive:" + busybox} {
		// A copy reads every blob and verifies its digest.
		to := "dir:" + filepath.Join(dir, "copy", filepath.Base(source))
		if err := os.MkdirAll(filepath.Join(dir, "copy"), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("skopeo", "copy", source, to).CombinedOutput(); err != nil {
			t.Errorf("skopeo copy %s: %v\n%s", source, err, out)
		}
	}
}

// Equal input gives equal bytes, and no half-made file or folder stays.
func TestRepeatable(t *testing.T) {
	dir := t.TempDir()
	var first []byte
	for range 2 {
		path := filepath.Join(dir, "a.tar")
		if err := images.WriteArchive(path, sample()); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, data) {
			t.Error("two builds of one image differ")
		}
		first = data
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("in the folder: %v, %v", left, err)
	}
}
