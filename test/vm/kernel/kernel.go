// Package kernel fetches the distribution's kernel with its modules, without
// installing it, and picks modules for an initramfs.
//
// It owns the folder it is given (build/vm of the repository) and touches
// nothing else; apt's lists are updated only where they do not name a kernel.
package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/flock"
)

// metaPackage depends on the newest kernel of the distribution.
const metaPackage = "linux-image-amd64"

// Kernel is one unpacked kernel.
type Kernel struct {
	// Release is what `uname -r` says under it.
	Release string
	// Image is the path of the kernel itself.
	Image string
	// Modules is the folder that holds Release/ with the modules.
	Modules string
}

// image matches what the meta package depends on.
var image = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-[0-9]\S*)$`)

// Fetch returns the newest kernel that apt knows, downloaded and unpacked in
// dir unless it is there. Without a network, one fetched before serves; log
// hears of that, and of a download. Fetches at the same time wait for each
// other.
func Fetch(ctx context.Context, dir string, log func(string)) (*Kernel, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := flock.Acquire(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Release() }()

	name, err := newest(ctx)
	if err == nil {
		kernel, found := open(filepath.Join(dir, name))
		if found == nil {
			return kernel, nil
		}
		log("fetching " + name + " from the distribution")
		if err = download(ctx, dir, name); err == nil {
			return open(filepath.Join(dir, name))
		}
	}
	if old, _ := Cached(dir); old != nil {
		log(fmt.Sprintf("the newest kernel cannot be fetched, so %s serves: %v", old.Release, err))
		return old, nil
	}
	return nil, err
}

// Cached returns the kernel in dir that was fetched last, without asking apt.
func Cached(dir string) (*Kernel, error) {
	names, err := filepath.Glob(filepath.Join(dir, "linux-image-*", "boot"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no kernel in %s; run: make vm", dir)
	}
	slices.SortFunc(names, func(a, b string) int { return modified(b).Compare(modified(a)) })
	return open(filepath.Dir(names[0]))
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// newest asks apt for the kernel's package name.
func newest(ctx context.Context) (string, error) {
	name := depends(ctx)
	if name == "" && os.Getuid() == 0 {
		// A fresh container has no lists.
		if out, err := exec.CommandContext(ctx, "apt-get", "update", "-qq").CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt-get update: %w: %s", err, bytes.TrimSpace(out))
		}
		name = depends(ctx)
	}
	if name == "" {
		return "", fmt.Errorf("apt knows no package %s: the kernel is taken from Debian on amd64; run `apt-get update` there", metaPackage)
	}
	return name, nil
}

func depends(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "--important", metaPackage).Output()
	if err != nil {
		return ""
	}
	match := image.FindSubmatch(out)
	if match == nil {
		return ""
	}
	return string(match[1])
}

// download unpacks a package to dir/name; the rename is what makes it count.
func download(ctx context.Context, dir, name string) (err error) {
	temp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := aptDownload(ctx, temp, name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages", name, len(debs))
	}
	tree := filepath.Join(temp, "tree")
	if err := command(ctx, temp, "dpkg", "-x", debs[0], tree); err != nil {
		return err
	}
	if err := usrMerged(tree); err != nil {
		return err
	}
	releases, err := os.ReadDir(filepath.Join(tree, "lib", "modules"))
	if err != nil || len(releases) != 1 {
		return fmt.Errorf("package %s holds no modules in lib/modules", name)
	}
	// The package does this when it is installed.
	if err := command(ctx, temp, "depmod", "-b", tree, releases[0].Name()); err != nil {
		return fmt.Errorf("%w; is the package kmod installed?", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
		return err
	}
	// The package's own time says when it was built; Cached asks for ours.
	if err := os.Chtimes(filepath.Join(tree, "boot"), time.Time{}, time.Now()); err != nil {
		return err
	}
	return os.Rename(tree, filepath.Join(dir, name))
}

// aptDownload fetches one package, once more with new lists where the old ones
// name a version that the mirror no longer has.
func aptDownload(ctx context.Context, dir, name string) error {
	// Its sandbox user cannot write here, and it would warn of that.
	fetch := func() error {
		return command(ctx, dir, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name)
	}
	err := fetch()
	if err == nil || os.Getuid() != 0 {
		return err
	}
	if err := command(ctx, dir, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	return fetch()
}

// usrMerged moves usr/lib/modules, where newer packages have them, to where
// depmod looks.
func usrMerged(tree string) error {
	from, to := filepath.Join(tree, "usr/lib/modules"), filepath.Join(tree, "lib/modules")
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func command(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// open finds the parts of an unpacked kernel. Its paths have no symbolic links
// in them: the guest looks them up below another root.
func open(tree string) (*Kernel, error) {
	tree, err := filepath.EvalSymlinks(tree)
	if err != nil {
		return nil, err
	}
	images, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("%s: %d kernels in boot/, and it should be one; remove the folder and run: make vm", tree, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := &Kernel{Release: release, Image: images[0], Modules: filepath.Join(tree, "lib", "modules")}
	if _, err := os.Stat(filepath.Join(k.Modules, release, "modules.dep")); err != nil {
		return nil, fmt.Errorf("%s: %w; remove the folder and run: make vm", tree, err)
	}
	return k, nil
}
