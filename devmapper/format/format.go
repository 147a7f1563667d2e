// Package format makes the file system of a template device: the one place of
// the devicemapper snapshotter that starts another program, mkfs.
//
// A template is made once for each file-system type, set of options and size,
// and every snapshot without a parent is a thin snapshot of one; so nothing
// here is on the path of an ordinary call.
package format

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/mount"
)

// Smallest file systems that are made, in bytes: below, mkfs.xfs refuses and
// an ext4 is mostly journal.
var smallest = map[string]int64{mount.Ext4: 16 << 20, mount.XFS: 300 << 20}

// Smallest is the least size in bytes of a file system of the type, 0 where
// the type is none that can be made.
func Smallest(fsType string) int64 { return smallest[fsType] }

// Types are the file systems that can be made.
func Types() []string { return []string{mount.Ext4, mount.XFS} }

// Spec is what a template is made with; templates of equal specs are equal.
type Spec struct {
	FSType string
	// Bytes is the size of device and file system.
	Bytes int64
	// Options are the operator's, passed to mkfs before the device.
	Options []string
}

// Key names the spec in records.
func (s Spec) Key() string {
	return strings.Join(append([]string{s.FSType, strconv.FormatInt(s.Bytes, 10)}, s.Options...), " ")
}

// reserved are options that would make mkfs do something else than make this
// file system on this device.
var reserved = []string{"-n", "-N", "-V", "-S", "-c", "-l", "-p", "-F", "-f", "-q", "--", "-h", "--help"}

// CheckOptions refuses options that cannot be the operator's.
func CheckOptions(fsType string, options []string) error {
	for _, o := range options {
		switch {
		case o == "" || strings.ContainsRune(o, 0):
			return fmt.Errorf("%q is no option", o)
		case strings.HasPrefix(o, "/"):
			return fmt.Errorf("%q looks like a device; the driver names it", o)
		case fsType == mount.Ext4 && slices.Contains(reserved, o),
			fsType == mount.XFS && slices.Contains([]string{"-N", "-V", "-p", "-f", "-q", "--"}, o):
			return fmt.Errorf("%q is the driver's to set; take it out", o)
		}
	}
	return nil
}

// A fresh thin device reads as zeros and has no blocks, hence:
//
//   - nodiscard, -K: there is nothing to discard.
//   - assume_storage_prezeroed: the inode tables and the journal count as
//     zeroed without being written. With lazy_itable_init alone the kernel
//     would write them after the mount of every single snapshot, which
//     allocates blocks in each.
//   - -m 0: no blocks kept back for root; containers run as root.
//   - -b 4096: the block size that online growth needs to go far; mkfs takes
//     1024 for small file systems.
//
// The journal stays: without one a crash of the machine costs a check by hand.
func ext4(s Spec, more string) []string {
	args := []string{"-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard" + more}
	return append(args, s.Options...)
}

func xfs(s Spec) []string { return append([]string{"-q", "-f", "-K"}, s.Options...) }

// Make formats the device, which must be new: never written, and nobody
// else's. It ends with ctx.
func Make(ctx context.Context, s Spec, device string) error {
	switch s.FSType {
	case mount.Ext4:
		err := run(ctx, "mkfs.ext4", append(ext4(s, ",lazy_itable_init=1,lazy_journal_init=1,assume_storage_prezeroed=1"), device)...)
		if err == nil || !strings.Contains(err.Error(), "assume_storage_prezeroed") {
			return err
		}
		// e2fsprogs before 1.47: mkfs writes the zeros itself.
		return run(ctx, "mkfs.ext4", append(ext4(s, ",lazy_itable_init=0,lazy_journal_init=0"), device)...)
	case mount.XFS:
		return run(ctx, "mkfs.xfs", append(xfs(s), device)...)
	}
	return fmt.Errorf("file system %q: take one of %s: %w", s.FSType, strings.Join(Types(), ", "), errdefs.ErrInvalidArgument)
}

// Program is the mkfs of a type.
func Program(fsType string) string { return "mkfs." + fsType }

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	// A mkfs that waits for a dead disk cannot be killed; do not wait for it
	// for ever.
	cmd.WaitDelay = 5 * time.Second
	// One that outlives a killed daemon would keep the device from the next,
	// which deletes it. The signal comes at the end of this thread, so that
	// has to stay (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not installed; install the package that has it (e2fsprogs, xfsprogs): %w", name, errdefs.ErrFailedPrecondition)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
}
