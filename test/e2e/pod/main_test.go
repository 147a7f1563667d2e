package pod_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/varve-project/varve/test/images"
	"github.com/varve-project/varve/test/node"
)

// TestMain runs the tests on a node of their own. The suite's folders are
// made before, so that they go whatever becomes of the node.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	const folder = "VARVE_TEST_POD_FOLDER"
	if !node.Inside() {
		dir, err := os.MkdirTemp("", "varve-pod-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := os.Setenv(folder, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	dir := os.Getenv(folder)
	code := node.Main("pod", func(ctx context.Context) error {
		if err := makeImages(ctx, dir); err != nil {
			return err
		}
		failed := m.Run() != 0
		if shared != nil {
			down := exec.Command(shared.bin, "--root", shared.root, "--state", shared.state, "down")
			if out, err := down.CombinedOutput(); err != nil {
				return fmt.Errorf("varve down: %w\n%s", err, out)
			}
		}
		if failed {
			return errors.New("tests failed")
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// archives are the images that every test's suite has.
var archives []string

func makeImages(ctx context.Context, dir string) error {
	busybox, err := images.Busybox(ctx, dir)
	if err != nil {
		return err
	}
	archives = append(archives, busybox)
	testFolder = dir
	hostile := filepath.Join(dir, "hostile.tar")
	archives = append(archives, hostile)
	return images.WriteArchive(hostile, images.Image{
		Name:   "docker.io/library/hostile:1",
		Config: ocispec.ImageConfig{User: "daemon", Cmd: []string{"/bin/true"}},
		Layers: []images.Layer{{Entries: []images.Entry{
			images.Dir("etc"), images.Symlink("etc/passwd", "../../../../../../../../etc/passwd"),
			images.Symlink("etc/group", "/etc/group"),
		}}},
	})
}

var testFolder string
