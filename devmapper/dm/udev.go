package dm

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Flags for udev's rules, in the upper half of a cookie (libdevmapper.h,
// DM_UDEV_*; dmsetup udevflags decodes them for 10-dm.rules).
const (
	udevDisableSubsystemRules = 0x0002
	udevDisableDiskRules      = 0x0004
	udevDisableOtherRules     = 0x0008
	udevPrimarySource         = 0x0040
)

// udevSocket is where a running udevd listens.
const udevSocket = "/run/udev/control"

// udev is a udevd that runs beside us.
type udev struct {
	flags    uint16
	patience time.Duration
	// late: the last wait ran out, so the next ones are brief.
	late    atomic.Bool
	overdue atomic.Uint64
}

// brief is a wait for a udevd that did not answer last time.
const brief = 50 * time.Millisecond

func findUdev(o options) *udev {
	if _, err := os.Stat(udevSocket); err != nil {
		return nil
	}
	reapCookies()
	return &udev{flags: o.flags, patience: o.patience}
}

// Overdue counts the calls that did not wait for udevd to the end.
func (c *Control) Overdue() uint64 {
	if c.udev == nil {
		return 0
	}
	return c.udev.overdue.Load()
}

// uevent issues a command that makes the kernel send a uevent with our cookie,
// waits until udevd is through with it, and then sees to the node itself:
// node does nothing where udev has done its work.
func (c *Control) uevent(what string, cmd command, node func(Info) error) error {
	if c.udev == nil {
		h, err := c.device(what, cmd)
		if err != nil {
			return err
		}
		return node(h.info())
	}
	k, err := newCookie()
	if err != nil {
		return fail(what, cmd.name, err)
	}
	defer k.destroy()
	cmd.event = uint32(c.udev.flags|udevPrimarySource)<<16 | uint32(k.base)
	h, err := c.device(what, cmd)
	if err != nil {
		return err
	}
	if h.has(unix.DM_UEVENT_GENERATED_FLAG) {
		c.udev.wait(k)
	}
	return node(h.info())
}

func (u *udev) wait(k cookie) {
	patience := u.patience
	if u.late.Load() {
		patience = brief
	}
	done := k.wait(patience)
	u.late.Store(!done)
	if !done {
		u.overdue.Add(1)
	}
}
