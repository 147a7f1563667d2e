package dm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Load puts a table into the device's inactive slot, in the place of one that
// was loaded before; Resume makes it live. The targets are in order and
// without gaps. readOnly makes the device, once live, refuse writes. One ioctl,
// one more when the kernel refuses the table, to name its reason.
//
// Errors: NotFound; InvalidArgument (which target is wrong and, as far as the
// kernel's log can be read, why).
func (c *Control) Load(name string, readOnly bool, targets ...Target) error {
	if err := checkTargets(targets); err != nil {
		return fmt.Errorf("load a table into device %s: %w", name, err)
	}
	cmd := command{request: unix.DM_TABLE_LOAD, name: name, targets: uint32(len(targets)), payload: encodeTargets(targets)}
	if readOnly {
		cmd.flags |= unix.DM_READONLY_FLAG
	}
	log := openKernelLog()
	defer log.close()
	_, err := c.device("load a table into", cmd)
	if err == nil || errors.Is(err, unix.ENXIO) || !isErrno(err) {
		return err
	}
	return c.refused(name, log, targets, err)
}

// checkTargets finds what the kernel would refuse with a bare EINVAL.
func checkTargets(targets []Target) error {
	if len(targets) == 0 {
		return fmt.Errorf("the table has no targets: %w", errdefs.ErrInvalidArgument)
	}
	var next uint64
	for i, t := range targets {
		wrong := ""
		switch {
		case t.Length == 0:
			wrong = "has length 0"
		case t.Start != next:
			wrong = fmt.Sprintf("starts at sector %d; the one before ends at %d, and a table has no gaps", t.Start, next)
		case t.Start+t.Length < t.Start:
			wrong = fmt.Sprintf("is %d sectors long, which no device is", t.Length)
		case t.Type == "" || len(t.Type) > maxType:
			wrong = fmt.Sprintf("has the type %q, which is not 1 to %d bytes long", t.Type, maxType)
		case strings.ContainsRune(t.Type+t.Params, 0):
			wrong = "holds a NUL"
		}
		if wrong != "" {
			return fmt.Errorf("target %d (%s) %s: %w", i, t, wrong, errdefs.ErrInvalidArgument)
		}
		next = t.Start + t.Length
	}
	return nil
}

// String is the target as dmsetup writes it.
func (t Target) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%d %d %s %s", t.Start, t.Length, t.Type, t.Params), " ")
}

// Clear empties the inactive slot; of one that is empty it does nothing. One
// ioctl.
func (c *Control) Clear(name string) error {
	_, err := c.device("clear the loaded table of", command{request: unix.DM_TABLE_CLEAR, name: name})
	return err
}

// Table reads the live table; nil where there is none. One ioctl, one more
// for every doubling of an answer beyond 16 KiB.
func (c *Control) Table(name string) ([]Target, error) {
	return c.table("read the table of", name, unix.DM_STATUS_TABLE_FLAG)
}

// InactiveTable reads the table that is loaded and not yet live; nil where
// there is none. Ioctls as Table.
func (c *Control) InactiveTable(name string) ([]Target, error) {
	return c.table("read the loaded table of", name, unix.DM_STATUS_TABLE_FLAG|unix.DM_QUERY_INACTIVE_TABLE_FLAG)
}

func (c *Control) table(what, name string, flags uint32) ([]Target, error) {
	// NOFLUSH, for a table needs no commit of the pool.
	h, err := c.device(what, command{
		request: unix.DM_TABLE_STATUS, name: name, flags: flags | unix.DM_NOFLUSH_FLAG, answer: answerSize,
	})
	if err != nil {
		return nil, err
	}
	targets, err := h.targets()
	if err != nil {
		return nil, fail(what, name, err)
	}
	return targets, nil
}

// Status asks every target of the live table for its status; none where the
// device has no live table. Without NoFlush a thin pool commits first, which
// takes as long as its disk does. Ioctls as Table.
func (c *Control) Status(name string, o StatusOptions) (Info, []TargetStatus, error) {
	cmd := command{request: unix.DM_TABLE_STATUS, name: name, answer: answerSize}
	if o.NoFlush {
		cmd.flags |= unix.DM_NOFLUSH_FLAG
	}
	h, err := c.device("read the status of", cmd)
	if err != nil {
		return Info{}, nil, err
	}
	targets, err := h.targets()
	if err != nil {
		return Info{}, nil, fail("read the status of", name, err)
	}
	status := make([]TargetStatus, len(targets))
	for i, t := range targets {
		status[i] = TargetStatus{Start: t.Start, Length: t.Length, Type: t.Type, Status: t.Params}
	}
	return h.info(), status, nil
}
