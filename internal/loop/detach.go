package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// How long Detach waits for somebody who looks at the device for a moment, as
// udev does after every change.
const (
	patience = time.Second
	interval = 10 * time.Millisecond
)

// Detach takes the backing file from a device and returns when it is gone. One
// that is gone already, or that backs another file by now, is no error and is
// left alone (a device from List is known by its node only). If something holds it (a mount, an open
// file), Detach waits a second, leaves the device as it was and answers
// ErrBusy.
//
// LOOP_CLR_FD alone answers OK for a device in use and detaches it at the last
// close, whenever that is; a caller that then deletes the file would leave a
// "(deleted)" device behind.
func Detach(ctx context.Context, d Device) error {
	node := d.Path
	deadline := time.Now().Add(patience)
	for {
		err := clear(d)
		switch {
		case err == nil:
			return settle(ctx, d, deadline)
		case gone(err):
			return nil
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("detach: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("detach %s: %w: it is mounted or claimed", node, ErrBusy)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("detach %s: %w", node, err)
		}
	}
}

// clear asks for the detaching. O_EXCL fails with EBUSY while the device is
// mounted or otherwise claimed (open(2)), and then nothing has been changed.
func clear(d Device) error {
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if file, err := backingOf(f); err != nil {
		return err
	} else if d.file != (identity{}) && file != d.file {
		return fmt.Errorf("%s backs another file now: %w", d.Path, os.ErrNotExist)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		return fmt.Errorf("%s: %w", d.Path, err)
	}
	return nil
}

// settle waits until the device is gone; when it stays, an opener without a
// claim holds it, and the pending detach is taken back.
func settle(ctx context.Context, d Device, deadline time.Time) error {
	node := d.Path
	dir := filepath.Join(sysBlock, filepath.Base(node))
	for {
		now, err := inspect(dir)
		if err != nil {
			if gone(err) {
				return nil
			}
			return fmt.Errorf("detach %s: %w", node, err)
		}
		if now.Backing != d.Backing {
			return nil // gone, and taken by somebody else already
		}
		if time.Now().After(deadline) {
			break
		}
		if err := pause(ctx); err != nil {
			return errors.Join(fmt.Errorf("detach %s: %w", node, err), keep(node))
		}
	}
	if err := keep(node); err != nil {
		return err
	}
	if _, err := inspect(dir); err != nil {
		return nil // it went in the last moment after all
	}
	return fmt.Errorf("detach %s: %w: a process has it open", node, ErrBusy)
}

// keep clears the autoclear flag that LOOP_CLR_FD left on a device in use.
func keep(node string) error {
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("keep: %w", err)
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err == nil {
		info.Flags &^= unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopSetStatus64(int(f.Fd()), info)
	}
	if errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep %s attached: %w", node, err)
	}
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
		return nil
	}
}

// Release takes the backing file from a device now, or, while something holds
// it, lets the kernel do so at its last close. A device that is gone already,
// or that backs another file by now, is left alone.
func Release(d Device) error {
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("release: %w", err)
	}
	defer f.Close()
	if file, err := backingOf(f); err != nil || file != d.file {
		return err
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !gone(err) {
		return fmt.Errorf("release %s: %w", d.Path, err)
	}
	return nil
}
