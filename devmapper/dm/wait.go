package dm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Events is an opening of the control device with an event counter of its own.
// A Kernel that has one is asked for it by Wait; one that has none is asked
// for the device's state once a second instead.
type Events interface {
	// Events opens the control device once more.
	Events() (EventQueue, error)
}

// EventQueue tells when any device has had an event.
type EventQueue interface {
	Kernel
	// Until calls check, and again after every event on any device since the
	// last DM_DEV_ARM_POLL, until check returns true or the context is done.
	Until(ctx context.Context, check func() bool) error
	Close() error
}

// lookAgain is how often a device is looked at where the kernel cannot tell
// (before Linux 4.13, and a Kernel without Events).
const lookAgain = time.Second

// together is how long events are gathered before the device is looked at
// again. The kernel's event is one for all devices, so without it whoever
// waits for one device would pay for each change of every other.
const together = 100 * time.Millisecond

// ArmPoll makes the queue remember the events so far: from now on it tells of
// newer ones only. One ioctl.
func ArmPoll(q EventQueue) error {
	_, err := (&Control{kernel: q}).do(command{request: unix.DM_DEV_ARM_POLL})
	if err != nil {
		return fail("arm the event queue", "", err)
	}
	return nil
}

// Wait returns as soon as the device's event number is not event: pass the one
// of the last Info. It returns at once where events came meanwhile; none is
// lost. It holds no thread while it waits. Ioctls: two, and two at most every
// 100 ms while devices of the machine have events.
//
// Errors: the context's; NotFound (the device is gone, or went while waiting).
func (c *Control) Wait(ctx context.Context, name string, event uint32) (Info, error) {
	source, ok := c.kernel.(Events)
	if !ok {
		return c.waitLooking(ctx, name, event)
	}
	q, err := source.Events()
	if errors.Is(err, errors.ErrUnsupported) {
		return c.waitLooking(ctx, name, event)
	}
	if err != nil {
		return Info{}, fail("wait for an event of", name, err)
	}
	var info Info
	var failure error
	looked := false
	err = errors.Join(q.Until(ctx, func() bool {
		if looked {
			gather(ctx)
		}
		looked = true
		// Armed first: what happens between the two wakes us once more.
		if failure = ArmPoll(q); failure != nil {
			return true
		}
		info, failure = c.Stat(name)
		return failure != nil || info.Event != event
	}), q.Close())
	if err != nil {
		return Info{}, fmt.Errorf("wait for an event of device %s: %w", name, err)
	}
	return info, failure
}

func gather(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(together):
	}
}

func (c *Control) waitLooking(ctx context.Context, name string, event uint32) (Info, error) {
	for {
		info, err := c.Stat(name)
		if err != nil || info.Event != event {
			return info, err
		}
		select {
		case <-ctx.Done():
			return Info{}, fmt.Errorf("wait for an event of device %s: %w", name, context.Cause(ctx))
		case <-time.After(lookAgain):
		}
	}
}

// Events opens the control device once more; each opening has its own counter.
func (c *control) Events() (EventQueue, error) {
	q, err := openControl(c.node)
	if err != nil {
		return nil, err
	}
	// A file that the poller does not take has no deadlines: a kernel without
	// poll on the control device.
	if err := q.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, errors.Join(fmt.Errorf("%w (%w)", errors.ErrUnsupported, err), q.Close())
	}
	return q, nil
}

// Until waits in the runtime's poller.
func (c *control) Until(ctx context.Context, check func() bool) error {
	stop := context.AfterFunc(ctx, func() { _ = c.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(uintptr) bool { return ctx.Err() != nil || check() })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
