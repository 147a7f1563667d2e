package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/wire"
)

// Where things stand in the initramfs while the root is made.
const (
	hostDir  = "/host"  // the machine's file system, read-only
	upperDir = "/upper" // a tmpfs for all that the guest changes
	rootDir  = "/root"  // the new root
)

// RootTag is the 9p tag of the machine's file system.
const RootTag = "root"

// ninePData is for a tree that does not change while the guest runs, so that
// the guest may cache it as it likes.
const ninePData = "trans=virtio,version=9p2000.L,msize=512000,access=any,cache=loose"

// shareData is for a tree that both sides write: nothing is cached but pages
// that are mapped.
const shareData = "trans=virtio,version=9p2000.L,msize=512000,access=any,cache=mmap"

// prepare makes the root, enters it and brings up what a machine has.
func prepare(setup wire.Setup) error {
	if setup.Time != 0 {
		now := unix.NsecToTimeval(setup.Time)
		if err := unix.Settimeofday(&now); err != nil {
			return fmt.Errorf("setting the clock: %w", err)
		}
	}
	if err := unix.Sethostname([]byte(setup.Hostname)); err != nil {
		return fmt.Errorf("setting the host name %q: %w", setup.Hostname, err)
	}
	steps := []func(wire.Setup) error{makeRoot, freshDirs, keep, modules, shares, enter, cgroups, loopback, services}
	for _, step := range steps {
		if err := step(setup); err != nil {
			return err
		}
	}
	return nil
}

// makeRoot puts a writable layer over the machine's file system.
func makeRoot(wire.Setup) error {
	err := plan{
		{RootTag, hostDir, "9p", unix.MS_RDONLY, ninePData},
		{"upper", upperDir, "tmpfs", 0, "mode=0755,size=75%"},
	}.do()
	if err != nil {
		return err
	}
	return above(hostDir, rootDir, "root")
}

// above mounts, on target, a layer that the guest may change over lower. name
// is the layer's own.
func above(lower, target, name string) error {
	upper, work := filepath.Join(upperDir, name, "upper"), filepath.Join(upperDir, name, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	data := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	return mount{"overlay", target, "overlay", 0, data}.do()
}

// freshDirs covers what belongs to the machine's own running programs.
func freshDirs(setup wire.Setup) error {
	tmpfs := func(dir, mode string, flags uintptr) mount {
		return mount{"tmpfs", rootDir + dir, "tmpfs", flags, "size=75%,mode=" + mode}
	}
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	tmp := tmpfs("/tmp", "1777", 0)
	if setup.Tmp != "" {
		tmp = mount{setup.Tmp, rootDir + "/tmp", "ext4", 0, ""}
	}
	err := plan{
		tmp,
		{"proc", rootDir + "/proc", "proc", plain, ""},
		{"sysfs", rootDir + "/sys", "sysfs", plain, ""},
		{"devtmpfs", rootDir + "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
		{"devpts", rootDir + "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
		tmpfs("/dev/shm", "1777", unix.MS_NOSUID|unix.MS_NODEV),
		tmpfs("/run", "0755", unix.MS_NOSUID|unix.MS_NODEV),
		// No flags: on a disk, where these usually are, they have none, and
		// root file systems with devices are unpacked here.
		tmpfs("/var", "0755", 0),
		{"mqueue", rootDir + "/dev/mqueue", "mqueue", plain, ""},
	}.do()
	if err != nil {
		return err
	}
	for _, dir := range []string{"cache", "lib", "local", "log", "mail", "opt", "spool", "tmp"} {
		if err := os.Mkdir(rootDir+"/var/"+dir, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{rootDir + "/run/lock", rootDir + "/var/tmp", rootDir + "/tmp"} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	links := map[string]string{"/var/run": "/run", "/var/lock": "/run/lock", "/dev/fd": "/proc/self/fd",
		"/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"}
	for link, target := range links {
		if err := os.Symlink(target, rootDir+link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// keep shows host folders and files below the fresh ones: a test binary in
// /tmp, the working directory of a clone there.
func keep(setup wire.Setup) error {
	for i, path := range setup.Keep {
		info, err := os.Stat(hostDir + path)
		if err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		if info.IsDir() {
			err = above(hostDir+path, rootDir+path, fmt.Sprintf("keep%d", i))
		} else {
			err = showFile(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// showFile shows a single file of the host, read-only.
func showFile(path string) error {
	target := rootDir + path
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		return err
	}
	if err := unix.Mount(hostDir+path, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	return nil
}

// modules makes modprobe, and the kernel's own call of it, find the modules.
func modules(setup wire.Setup) error {
	return mount{hostDir + setup.Modules, rootDir + "/lib/modules", "", unix.MS_BIND, ""}.do()
}

func shares(setup wire.Setup) error {
	for _, share := range setup.Shares {
		if err := (mount{share.Tag, rootDir + share.Path, "9p", 0, shareData}).do(); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the new root everybody's, as switch_root does: a root moved over
// the initramfs, so that neither pivot_root nor user namespaces see a chroot.
func enter(wire.Setup) error {
	if err := os.Chdir(rootDir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("entering the new root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// As every init does: what is mounted shows in namespaces made later.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making / shared: %w", err)
	}
	return nil
}

// settleTime bounds how long udevd may take over the devices of a start.
const settleTime = 60 * time.Second
