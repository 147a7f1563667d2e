package dm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// kinds are the errnos that mean the same whatever was asked.
var kinds = map[unix.Errno]struct {
	kind error
	text string
}{
	unix.ENXIO:   {errdefs.ErrNotFound, "no such device"},
	unix.EBUSY:   {errdefs.ErrFailedPrecondition, "it is in use"},
	unix.EINVAL:  {errdefs.ErrInvalidArgument, "the kernel refuses it; its log (dmesg) has the reason"},
	unix.EACCES:  {errdefs.ErrPermissionDenied, "device-mapper wants CAP_SYS_ADMIN in the initial user namespace: run as root"},
	unix.EPERM:   {errdefs.ErrPermissionDenied, "the kernel denies it"},
	unix.ENOMEM:  {errdefs.ErrResourceExhausted, "the kernel has no memory for it"},
	unix.ENOSPC:  {errdefs.ErrResourceExhausted, "no space is left for it"},
	unix.EEXIST:  {errdefs.ErrAlreadyExists, "it exists"},
	unix.ENODATA: {errdefs.ErrNotFound, "the target does not have it"},
	unix.EROFS:   {errdefs.ErrUnavailable, "it is read-only"},
	unix.EIO:     {errdefs.ErrUnavailable, "I/O error below; the kernel's log (dmesg) names the disk"},
	unix.EAGAIN:  {errdefs.ErrUnavailable, "the kernel is not ready for it; try again"},
	unix.ENOTTY:  {errdefs.ErrNotImplemented, "this kernel does not know the command"},
	// A thin pool that is read-only or failed answers every message so
	// (drivers/md/dm-thin.c, pool_message).
	unix.EOPNOTSUPP: {errdefs.ErrUnavailable, "the target does not take it in its present mode (a thin pool that is read-only or failed; see its status)"},
}

// fail names what was tried, on which device, and the kind of failure. The
// errno stays in the chain.
func fail(what, name string, err error) error {
	if name != "" {
		what += " device " + name
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		if k, ok := kinds[errno]; ok {
			return fmt.Errorf("%s: %s: %w (%w)", what, k.text, k.kind, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// inUse says who has the device open, as far as the kernel tells.
func (c *Control) inUse(name string, cause error) error {
	info, err := c.Stat(name)
	if err != nil {
		return cause
	}
	who := ""
	if holders := c.holders(info); len(holders) > 0 {
		who = ", by " + strings.Join(holders, ", ")
	}
	return fmt.Errorf("remove device %s (%d:%d): it is open %d times%s; unmount or close it, or use a deferred removal: %w (%w)",
		name, info.Major, info.Minor, info.Open, who, errdefs.ErrFailedPrecondition, unix.EBUSY)
}

// holders are the block devices that lie on this one, by their dm names where
// they have one.
func (c *Control) holders(info Info) []string {
	dir := filepath.Join(c.sysfs, "dev/block", fmt.Sprintf("%d:%d", info.Major, info.Minor), "holders")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the count alone must do
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if dm, err := os.ReadFile(filepath.Join(dir, name, "dm/name")); err == nil {
			name = strings.TrimSpace(string(dm)) + " (" + name + ")"
		}
		names = append(names, name)
	}
	return names
}

func (v Version) String() string {
	return strconv.FormatUint(uint64(v.Major), 10) + "." + strconv.FormatUint(uint64(v.Minor), 10) + "." + strconv.FormatUint(uint64(v.Patch), 10)
}

func isErrno(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno)
}

// noTarget explains a target type that the kernel cannot serve.
func noTarget(name string, err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return fail("ask for target type "+name, "", err)
	}
	return fmt.Errorf("kernel has no device-mapper target %q: install the kernel's extra modules (the target is in dm-%s.ko): %w (%w)",
		name, name, errdefs.ErrNotImplemented, err)
}
