// Command demo runs real pods from real images through the whole suite, by
// the command line of `varve`, in a node of its own (test/node), and counts
// what is left in the kernel. `make demo` builds what it needs and runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/varve-project/varve/test/e2e/story"
	"github.com/varve-project/varve/test/images"
	"github.com/varve-project/varve/test/node"
)

func main() {
	bin := flag.String("bin", "bin", "folder of our binaries")
	runc := flag.String("runc", "bin/peers/runc", "the OCI runtime")
	build := flag.String("build", "build", "folder for images, which stay, and the demo's data, which does not")
	snapshotter := flag.String("snapshotter", "overlay", "overlay, or devmapper where `varve-devmapper pool create --write-config` has made its pool")
	prepare := flag.Bool("prepare", false, "make the images that are missing, and no more")
	flag.Parse()
	if *prepare {
		if err := buildImages(filepath.Join(*build, "images")); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	code, err := demo(*bin, *runc, *build, *snapshotter)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// dirVariable hands the story's folder from the process that a user started to
// the program in the node.
const dirVariable = "VARVE_DEMO_DIR"

func demo(bin, runc, build, snapshotter string) (code int, err error) {
	o := story.Options{Snapshotter: snapshotter}
	for path, name := range map[*string]string{&o.Bin: bin, &o.Runc: runc, &build: build} {
		if *path, err = filepath.Abs(name); err != nil {
			return 0, err
		}
	}
	archives := filepath.Join(build, "images")
	o.Busybox, o.Debian = filepath.Join(archives, "busybox.tar"), filepath.Join(archives, "debian.tar")
	o.Dir = os.Getenv(dirVariable)
	if !node.Inside() {
		if err := buildImages(archives); err != nil {
			return 0, err
		}
		if o.Dir, err = makeDir(filepath.Join(build, "demo")); err != nil {
			return 0, err
		}
	}
	code = node.Main("varve-demo", func(ctx context.Context) error { return story.Tell(ctx, o, os.Stdout) })
	return code, story.Sweep(o.Dir)
}

func makeDir(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "node-")
	if err != nil {
		return "", err
	}
	return dir, os.Setenv(dirVariable, dir)
}

// buildImages makes the images, once, while the machine's network is at hand.
func buildImages(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	fmt.Printf("images in %s; a missing one is made from the distribution's packages, Debian's in about a minute\n", dir)
	if _, err := images.Busybox(ctx, dir); err != nil {
		return err
	}
	_, err := images.Debian(ctx, dir)
	return err
}
