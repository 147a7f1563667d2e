package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/probe"
	"github.com/varve-project/varve/internal/quota"
	"github.com/varve-project/varve/snapshotter"
)

// Probes says what this kernel can do with the directory they were made for.
type Probes struct {
	// DType: the file system reports file types in directories; without it
	// whiteouts show up as files.
	DType *probe.Probe
	// Overlay: an overlay with an upper directory in dir can be mounted.
	Overlay *probe.Probe
	// IDMapped: overlay takes idmapped lower directories.
	IDMapped *probe.Probe
	// Quota: the file system counts what each project holds.
	Quota *probe.Probe
	// Limit: a project's limit holds for what is written through an overlay.
	Limit *probe.Probe
	// Whiteout: whiteouts (character device 0/0) can be made.
	Whiteout *probe.Probe
}

// NewProbes declares the probes for dir, which must exist. Each makes what it
// needs below dir and takes it away again; the one for limits borrows a free
// project id from first to last.
func NewProbes(dir string, first, last uint32) *Probes {
	p := &Probes{
		DType: probe.New("d_type in directories", "",
			"use ext4, btrfs, or xfs made with ftype=1, for the root", func() error { return checkDType(dir) }),
		Overlay: probe.New("overlay mounts", "4.0",
			"load the overlay module (modprobe overlay) and put the root on a local file system such as ext4, xfs or btrfs", func() error { return checkOverlay(dir) }),
		IDMapped: probe.New("idmapped overlay mounts", "5.19",
			"use a newer kernel, put the root on a file system that takes id mappings, or start the container without a mapped user namespace", func() error { return checkIDMapped(dir) }),
		Quota: probe.New("project quotas", "",
			"put the root on xfs mounted with prjquota, or on ext4 made with -O quota,project and mounted with prjquota", func() error { return checkQuota(dir) }),
		Limit: probe.New("project limits under an overlay", "",
			"mount the root's file system with prjquota, which enforces limits", func() error { return checkLimit(dir, first, last) }),
		Whiteout: probe.New("whiteouts", "",
			"run the daemon in the initial user namespace", func() error { return checkWhiteout(dir) }),
	}
	return p
}

// within runs fn in a fresh directory below dir.
func within(dir string, fn func(tmp string) error) (err error) {
	tmp, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	return fn(tmp)
}

func checkDType(dir string) error {
	ok, err := fs.SupportsDType(dir)
	if err == nil && !ok {
		err = errors.New("the file system does not report file types")
	}
	return err
}

func checkOverlay(dir string) error {
	return within(dir, func(tmp string) error {
		for _, d := range []string{"a", "b", "u", "w", "m"} {
			if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
				return err
			}
		}
		options := []string{
			"lowerdir=" + filepath.Join(tmp, "a") + ":" + filepath.Join(tmp, "b"),
			"upperdir=" + filepath.Join(tmp, "u"), "workdir=" + filepath.Join(tmp, "w"),
		}
		if inUserNamespace() {
			options = append(options, "userxattr")
		}
		// The first mount loads the module, which shows its parameters only
		// then; the second has the options that they allow.
		target := filepath.Join(tmp, "m")
		if err := mountOnce(target, options); err != nil {
			return err
		}
		return mountOnce(target, append(options, guardOptions()...))
	})
}

func mountOnce(target string, options []string) error {
	data := strings.Join(options, ",")
	if err := unix.Mount("overlay", target, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount -t overlay -o %s: %w", data, err)
	}
	return unix.Unmount(target, 0)
}

func checkWhiteout(dir string) error {
	if inUserNamespace() {
		// mknod of 0/0 is allowed there since 5.8, but containerd's unpack
		// does not make them in a user namespace (containerd #13388).
		return errors.New("this is a user namespace")
	}
	return within(dir, func(tmp string) error {
		return unix.Mknod(filepath.Join(tmp, "whiteout"), unix.S_IFCHR, 0)
	})
}

// checkIDMapped mounts an overlay over an idmapped directory and looks
// whether the owner shows through: some file systems take the mount and not
// the mapping.
func checkIDMapped(dir string) error {
	const host = 100_000
	return within(dir, func(tmp string) (err error) {
		for _, d := range []string{"l", "i", "u", "w", "m"} {
			if err := os.Mkdir(filepath.Join(tmp, d), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(tmp, "l", "f"), nil, 0o600); err != nil {
			return err
		}
		ns, err := mount.GetUsernsFD(fmt.Sprintf("0:%d:10", host), fmt.Sprintf("0:%d:10", host))
		if err != nil {
			return fmt.Errorf("user namespace: %w", err)
		}
		defer ns.Close()
		mapped := filepath.Join(tmp, "i")
		if err := mount.IDMapMountWithAttrs(filepath.Join(tmp, "l"), mapped, int(ns.Fd()), unix.MOUNT_ATTR_RDONLY, 0); err != nil {
			return fmt.Errorf("map a directory: %w", err)
		}
		defer func() { err = errors.Join(err, mount.UnmountAll(mapped, unix.UMOUNT_NOFOLLOW)) }()
		target := filepath.Join(tmp, "m")
		options := "lowerdir=" + mapped + ",upperdir=" + filepath.Join(tmp, "u") + ",workdir=" + filepath.Join(tmp, "w")
		if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
			return fmt.Errorf("mount over a mapped directory: %w", err)
		}
		defer func() { err = errors.Join(err, mount.UnmountAll(target, unix.UMOUNT_NOFOLLOW)) }()
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(target, "f"), &st); err != nil {
			return err
		}
		if st.Uid != host || st.Gid != host {
			return fmt.Errorf("a file of 0:0 shows as %d:%d and not as %d:%d", st.Uid, st.Gid, host, host)
		}
		return nil
	})
}

func checkQuota(dir string) error {
	if inUserNamespace() {
		return errors.New("quotas cannot be set from a user namespace")
	}
	f, err := quota.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	accounted, _, err := f.State()
	if err != nil {
		return err
	}
	if !accounted {
		return errors.New("the file system is not mounted with prjquota")
	}
	return nil
}

func inUserNamespace() bool { return userns.RunningInUserNS() }

// guardOptions are the options that keep a layer's own trusted.overlay.*
// attributes from steering lookups, and one layer usable in many mounts: as
// far as the kernel knows them. A kernel that does not know an option does
// not have the feature either.
func guardOptions() []string {
	var options []string
	for _, o := range []struct{ parameter, option string }{
		{"redirect_dir", "redirect_dir=nofollow"}, // value known since 4.15
		{"metacopy", "metacopy=off"},              // 4.19
		{"index", "index=off"},                    // 4.13
	} {
		if o.parameter == "redirect_dir" {
			// The parameter came with 4.10, the value with
			// redirect_always_follow.
			if !parameter("redirect_always_follow") {
				continue
			}
		}
		if parameter(o.parameter) {
			options = append(options, o.option)
		}
	}
	return options
}

func parameter(name string) bool {
	_, err := os.Stat("/sys/module/overlay/parameters/" + name)
	return err == nil
}

// capabilities is the matrix that follows from the probes.
func (p *Probes) capabilities(quotas bool) snapshotter.Capabilities {
	return snapshotter.Capabilities{
		Rebase:     p.Whiteout.Have(),
		RemapIDs:   p.IDMapped.Have(),
		MaxSize:    quotas && p.Limit.Have(),
		CheapUsage: quotas,
		Inodes:     true,
		Overlay:    true,
	}
}
