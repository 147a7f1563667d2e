package dm

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// device issues a command about one device, by its name.
func (c *Control) device(what string, cmd command) (header, error) {
	if err := lookupName(cmd.name); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	h, err := c.do(cmd)
	if err != nil {
		return nil, fail(what, cmd.name, err)
	}
	return h, nil
}

// Create makes a device without a table and without a node. A uuid may be
// empty; it can be set once and never changes. One ioctl.
//
// Errors: AlreadyExists (the name, the uuid or the minor is in use),
// InvalidArgument (see CheckName, CheckUUID), ResourceExhausted.
func (c *Control) Create(name, uuid string, o CreateOptions) (Info, error) {
	if err := errors.Join(CheckName(name), CheckUUID(uuid)); err != nil {
		return Info{}, fmt.Errorf("create: %w", err)
	}
	cmd := command{request: unix.DM_DEV_CREATE, name: name, uuid: uuid}
	if o.Minor != 0 {
		cmd.flags |= unix.DM_PERSISTENT_DEV_FLAG
		cmd.dev = unix.Mkdev(0, o.Minor)
	}
	h, err := c.do(cmd)
	switch {
	case errors.Is(err, unix.EBUSY):
		return Info{}, fmt.Errorf("create device %s: the name or its uuid %q is in use: %w (%w)", name, uuid, errdefs.ErrAlreadyExists, err)
	case errors.Is(err, unix.ENXIO) && o.Minor != 0: // drivers/md/dm.c, alloc_dev
		return Info{}, fmt.Errorf("create device %s: minor %d is in use, or the kernel has no memory: %w (%w)", name, o.Minor, errdefs.ErrAlreadyExists, err)
	case errors.Is(err, unix.ENXIO):
		return Info{}, fmt.Errorf("create device %s: the kernel has no memory or no minor number left: %w (%w)", name, errdefs.ErrResourceExhausted, err)
	case err != nil:
		return Info{}, fail("create", name, err)
	}
	return h.info(), nil
}

// Stat describes a device. One ioctl.
func (c *Control) Stat(name string) (Info, error) {
	h, err := c.device("stat", command{request: unix.DM_DEV_STATUS, name: name})
	if err != nil {
		return Info{}, err
	}
	return h.info(), nil
}

// Suspend holds the device's I/O until Resume. It may take as long as the I/O
// that is under way, without bound on a pool that is full, unless NoFlush.
// Suspending what is suspended does nothing. One ioctl.
func (c *Control) Suspend(name string, o SuspendOptions) error {
	cmd := command{request: unix.DM_DEV_SUSPEND, name: name, flags: unix.DM_SUSPEND_FLAG}
	if o.NoFlush {
		cmd.flags |= unix.DM_NOFLUSH_FLAG
	}
	if o.SkipLockFS {
		cmd.flags |= unix.DM_SKIP_LOCKFS_FLAG
	}
	_, err := c.device("suspend", cmd)
	return err
}

// Resume moves a loaded table to the live slot, if there is one, and lets I/O
// go on; the device's node is there when it returns. Resuming what runs and
// has nothing loaded does nothing. A table that is loaded over a live one
// swaps in behind a suspend with freeze and flush: Suspend first where that
// could block. One ioctl.
func (c *Control) Resume(name string) error {
	return c.uevent("resume", command{request: unix.DM_DEV_SUSPEND, name: name}, c.appear)
}

// Remove removes a device and its node. One ioctl, one more when it fails on
// an open device.
//
// Errors: NotFound; FailedPrecondition (it is open: says how often, and by
// which block devices).
func (c *Control) Remove(name string) error {
	err := c.uevent("remove", command{request: unix.DM_DEV_REMOVE, name: name}, c.vanish)
	if errors.Is(err, unix.EBUSY) {
		return c.inUse(name, err)
	}
	return err
}

// RemoveDeferred removes a device, or an open one as soon as its last opener
// has gone; until then it works, and Stat says DeferredRemove. Its node goes
// now where udev does not look after it, since nobody would remove it later.
// One ioctl.
func (c *Control) RemoveDeferred(name string) error {
	return c.uevent("remove deferred", command{
		request: unix.DM_DEV_REMOVE, name: name, flags: unix.DM_DEFERRED_REMOVE,
	}, func(info Info) error {
		if info.DeferredRemove && c.udevMakesNodes() {
			return nil // udevd removes it when the kernel removes the device
		}
		return c.vanish(info)
	})
}

// CancelDeferred takes a pending deferred removal back; of a device that has
// none it does nothing. One ioctl.
//
// Errors: NotFound (it has gone, or is just going).
func (c *Control) CancelDeferred(name string) error {
	h, err := c.message(name, 0, "@cancel_deferred_remove")
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("cancel deferred removal of device %s: it is being removed already: %w (%w)", name, errdefs.ErrNotFound, unix.EBUSY)
	}
	if err != nil {
		return fmt.Errorf("cancel deferred removal: %w", err)
	}
	if info := h.info(); info.Live {
		return c.appear(info)
	}
	return nil
}

// Rename gives a device and its node another name. One ioctl.
//
// Errors: NotFound, AlreadyExists (the new name is in use).
func (c *Control) Rename(name, to string) error {
	if err := CheckName(to); err != nil {
		return fmt.Errorf("rename device %s: %w", name, err)
	}
	err := c.uevent("rename", command{
		request: unix.DM_DEV_RENAME, name: name, payload: append([]byte(to), 0),
	}, func(info Info) error {
		if err := c.vanish(Info{Name: name}); err != nil {
			return err
		}
		info.Name = to
		return c.appear(info)
	})
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("rename device %s to %s: the name is in use: %w (%w)", name, to, errdefs.ErrAlreadyExists, unix.EBUSY)
	}
	return err
}
