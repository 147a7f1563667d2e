package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/failpoint"
)

// A pool that deletes a thin device frees its blocks and tells the disk
// nothing. The disk is told only by a discard that goes through the thin
// device: the pool unmaps the blocks and passes on those that no other device
// shares (passdown_double_checking_shared_status in dm-thin.c). So the device
// is made visible once more, under a name of its own, and discarded as far as
// it was ever written.
const (
	// discardSpan is the size with which it is made visible, larger than any
	// thin device is; how far it was written, the kernel tells.
	discardSpan = uint64(1) << 50
	// discardStep bounds one ioctl, which nothing can interrupt.
	discardStep = uint64(1) << 30
)

// discard gives the device's own blocks back to the disk. It is advice to the
// disk: where the disk or the pool does not take discards nothing is done, and
// a failure does not keep the device from being deleted.
func (p *Pool) discard(ctx context.Context, id ThinID) error {
	name := p.names.thin(id) + discardTail
	// The kernel would let us discard beneath whoever uses the device.
	if err := p.inactive(ctx, id); err != nil {
		return err
	}
	failpoint.Hit("pool.delete.discard.before")
	path, err := p.ctl.Activate(name, p.names.thinUUID(id)+discardTail, false, p.table(id, discardSpan))
	switch {
	case errors.Is(err, unix.ENODATA):
		return nil // there is nothing to delete
	case errdefs.IsAlreadyExists(err):
		path = p.ctl.Path(name) // left by a call that was killed
	case err != nil:
		p.log.WithError(err).Warnf("discard the blocks of %s; they are freed all the same", p.thin(id))
		return nil
	}
	err = p.discardThrough(ctx, name, path)
	removed := p.remove(context.WithoutCancel(ctx), name, false)
	failpoint.Hit("pool.delete.discard.after")
	if removed != nil {
		return fmt.Errorf("remove the device through which it was discarded: %w", removed)
	}
	if ctx.Err() != nil {
		return over(ctx)
	}
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		p.log.WithError(err).Warnf("discard the blocks of %s; they are freed all the same", p.thin(id))
	}
	return nil
}

func (p *Pool) discardThrough(ctx context.Context, name, path string) error {
	end, err := p.written(name)
	if err != nil || end == 0 {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for at := uint64(0); at < end && ctx.Err() == nil; at += discardStep {
		span := [2]uint64{at, min(discardStep, end-at)}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&span))); errno != 0 {
			return fmt.Errorf("discard %d bytes at %d of %s: %w", span[1], span[0], path, errno)
		}
	}
	return nil
}

// written is the end of the last block of a thin device that was ever written,
// in bytes: its status is "MAPPED HIGHEST" in sectors, "-" for nothing.
func (p *Pool) written(name string) (uint64, error) {
	_, targets, err := p.ctl.Status(name, dm.StatusOptions{NoFlush: true})
	if err != nil {
		return 0, err
	}
	if len(targets) != 1 {
		return 0, fmt.Errorf("device %s has no live table: %w", name, errdefs.ErrFailedPrecondition)
	}
	return parseWritten(targets[0].Status)
}

func parseWritten(status string) (uint64, error) {
	words := strings.Fields(status)
	if len(words) != 2 {
		return 0, fmt.Errorf("status %q of a thin device: want two words", status)
	}
	if words[1] == "-" {
		return 0, nil
	}
	highest, err := strconv.ParseUint(words[1], 10, 54)
	if err != nil {
		return 0, fmt.Errorf("status %q of a thin device: %w", status, err)
	}
	return (highest + 1) * sector, nil
}
