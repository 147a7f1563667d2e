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
	udevDisableDMRules        = 0x0001
	udevDisableSubsystemRules = 0x0002
	udevDisableDiskRules      = 0x0004
	udevDisableOtherRules     = 0x0008
	udevPrimarySource         = 0x0040

	udevKeepOff = udevDisableDMRules | udevDisableSubsystemRules | udevDisableDiskRules | udevDisableOtherRules | udevPrimarySource
)

// udevSocket is where a running udevd listens.
const udevSocket = "/run/udev/control"

// udev is a udevd that runs beside us.
type udev struct {
	// keepsOff: its rules leave the devices alone, and it is not waited for.
	keepsOff bool
	patience time.Duration
	// late: the last wait ran out, so the next ones are brief.
	late    atomic.Bool
	overdue atomic.Uint64
}

// brief is a wait for a udevd that did not answer last time.
const brief = 50 * time.Millisecond

func findUdev(o options) *udev {
	if o.udev == udevNever {
		return nil
	}
	if _, err := os.Stat(udevSocket); err != nil {
		return nil
	}
	reapCookies()
	return &udev{keepsOff: o.udev == udevKeepsOff, patience: o.patience}
}

// Overdue counts the calls that did not wait for udevd to the end.
func (c *Control) Overdue() uint64 {
	if c.udev == nil {
		return 0
	}
	return c.udev.overdue.Load()
}

// udevMakesNodes tells who looks after the nodes.
func (c *Control) udevMakesNodes() bool { return c.udev != nil && !c.udev.keepsOff }

// uevent issues a command that makes the kernel send a uevent, and sees to the
// node. Where udevd makes the nodes, it waits until udevd is through with the
// event; node then finds its work done.
func (c *Control) uevent(what string, cmd command, node func(Info) error) error {
	if c.udevMakesNodes() {
		return c.ueventAndWait(what, cmd, node)
	}
	if c.udev != nil {
		// Flags without a cookie: dmsetup udevcomplete takes them for a
		// success that nobody waits for.
		cmd.event = udevKeepOff << 16
	}
	h, err := c.device(what, cmd)
	if err != nil {
		return err
	}
	return node(h.info())
}

func (c *Control) ueventAndWait(what string, cmd command, node func(Info) error) error {
	k, err := newCookie()
	if err != nil {
		return fail(what, cmd.name, err)
	}
	defer k.destroy()
	cmd.event = udevPrimarySource<<16 | uint32(k.base)
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
