package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BusyboxName is the reference of the image that Busybox builds.
const BusyboxName = "docker.io/library/busybox:latest"

// busyboxPath is where Debian's busybox-static puts the static binary.
const busyboxPath = "/bin/busybox"

// Busybox builds an image of the distribution's static busybox into
// dir/busybox.tar, an OCI archive, unless it is there, and returns its path.
func Busybox(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "busybox.tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	binary, err := os.ReadFile(busyboxPath)
	if err != nil {
		return "", fmt.Errorf("busybox image: %w; install the package busybox-static", err)
	}
	out, err := exec.CommandContext(ctx, busyboxPath, "--list").Output()
	if err != nil {
		return "", fmt.Errorf("busybox image: %s --list: %w", busyboxPath, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tool := File("bin/busybox", string(binary)).Modes(0o755)
	entries := []Entry{Dir("bin"), tool}
	for _, applet := range strings.Fields(string(out)) {
		if applet != "busybox" {
			entries = append(entries, Symlink("bin/"+applet, "busybox"))
		}
	}
	files := []Entry{
		Dir("dev"), Dir("etc"), Dir("home"), Dir("proc"), Dir("root").Modes(0o700), Dir("run"), Dir("sys"),
		Dir("tmp").Modes(0o1777), Dir("usr"), Dir("var"), Dir("var/www"),
		File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
		File("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
		Symlink("usr/bin", "../bin"), Symlink("sbin", "bin"),
	}
	return path, WriteArchive(path, Image{
		Name:   BusyboxName,
		Config: ocispec.ImageConfig{Cmd: []string{"sh"}, Env: []string{"PATH=/bin:/sbin:/usr/bin"}},
		Layers: []Layer{{Entries: entries, Compression: Gzip}, {Entries: files, Compression: Gzip}},
	})
}
