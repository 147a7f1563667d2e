package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/archive"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DebianName is the reference of the image that Debian builds.
const DebianName = "docker.io/library/debian:varve"

// Files by which a test sees that the upper layers of the Debian image were
// applied: Deleted is in a lower layer and gone above, Replaced is a directory
// that an upper layer made opaque and gave DebianReplacement alone.
const (
	DebianDeleted     = "/usr/share/doc"
	DebianReplaced    = "/etc/skel"
	DebianReplacement = "/etc/skel/varve"
)

// Debian builds a Debian 12 root file system from the distribution's packages
// into dir/debian.tar, an OCI archive of four layers, unless it is there, and
// returns its path. It takes about a minute, root, mmdebstrap and a mirror
// that apt on this machine is configured for:
//
//  1. the minimal base
//  2. packages installed on top with apt
//  3. documentation, manuals, package lists: directories and files deleted
//  4. a directory replaced (opaque) and a file deleted
func Debian(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "debian.tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, ".debian-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	layers, err := debianLayers(ctx, work)
	if err != nil {
		return "", fmt.Errorf("debian image: %w", err)
	}
	layers = append(layers, Layer{Compression: Zstd, Entries: []Entry{
		Dir("etc/skel"), Opaque("etc/skel"), File("etc/skel/varve", "replaced\n"),
		Whiteout("etc/debian_version"), File("etc/varve-image", "debian\n"),
	}})
	return path, WriteArchive(path, Image{
		Name:   DebianName,
		Config: ocispec.ImageConfig{Cmd: []string{"bash"}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
		Layers: layers,
	})
}

// debianLayers makes one tree per layer and the tar of each difference.
func debianLayers(ctx context.Context, work string) ([]Layer, error) {
	tree := func(n int) string { return filepath.Join(work, fmt.Sprint("tree", n)) }
	base := filepath.Join(work, "base.tar")
	steps := []func() error{
		func() error { return run(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "bookworm", base) },
		func() error { return os.Mkdir(tree(1), 0o755) },
		func() error { return run(ctx, "tar", "-C", tree(1), "--xattrs", "-xpf", base) },
		func() error { return run(ctx, "cp", "-a", "--one-file-system", "--reflink=auto", tree(1), tree(2)) },
		func() error { return install(ctx, tree(2), "less", "procps", "iproute2") },
		func() error { return run(ctx, "cp", "-a", "--one-file-system", "--reflink=auto", tree(2), tree(3)) },
		func() error { return slim(tree(3)) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	empty := tree(0)
	if err := os.Mkdir(empty, 0o755); err != nil {
		return nil, err
	}
	var layers []Layer
	for n := 1; n <= 3; n++ {
		file := filepath.Join(work, fmt.Sprint("layer", n, ".tar"))
		if err := writeDiff(ctx, file, tree(n-1), tree(n)); err != nil {
			return nil, err
		}
		layers = append(layers, Layer{TarFile: file, Compression: Gzip})
	}
	return layers, nil
}

// install runs the tree's own apt. Nothing of the host is mounted into it, so
// that nothing is left to unmount; the packages named here can do without.
func install(ctx context.Context, root string, packages ...string) error {
	policy := filepath.Join(root, "usr/sbin/policy-rc.d")
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return err
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "etc/resolv.conf"), resolv, 0o644); err != nil {
		return err
	}
	apt := func(args ...string) error {
		return run(ctx, "chroot", append([]string{root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"}, args...)...)
	}
	if err := apt("update"); err != nil {
		return err
	}
	if err := apt(append([]string{"install", "-y", "--no-install-recommends"}, packages...)...); err != nil {
		return err
	}
	return errors.Join(os.Remove(policy), apt("clean"))
}

// slim deletes what containers do not read: files and whole directories.
func slim(root string) error {
	for _, pattern := range []string{"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale/*", "var/lib/apt/lists/*", "var/cache/*", "var/log/*.log", "var/log/apt/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeDiff writes the tar that makes upper from lower.
func writeDiff(ctx context.Context, path, lower, upper string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := archive.WriteDiff(ctx, f, lower, upper); err != nil {
		return errors.Join(fmt.Errorf("difference of %s: %w", upper, err), f.Close())
	}
	return f.Close()
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	return nil
}
