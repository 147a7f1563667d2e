package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

// Unmount is the action of unmounting a catalog that nobody owns.
type Unmount string

// Shell is the command line.
func (u Unmount) Shell() string { return quote([]string{"umount", string(u)}) }

func (u Unmount) do(context.Context, *Host) error { return mount.Unmount(string(u)) }

// RemoveDevices is the action of removing device-mapper devices in order.
// Those that are gone are no error.
type RemoveDevices []string

// Shell is the command line.
func (r RemoveDevices) Shell() string {
	if len(r) > 4 {
		return quote(append([]string{"dmsetup", "remove"}, r[:4]...)) + fmt.Sprintf(" … (%d more)", len(r)-4)
	}
	return quote(append([]string{"dmsetup", "remove"}, r...))
}

func (r RemoveDevices) do(ctx context.Context, _ *Host) error {
	ctl, err := dm.Open()
	if err != nil {
		return err
	}
	defer func() { _ = ctl.Close() }()
	for _, name := range r {
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := ctl.Stat(name)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err == nil && info.Suspended && info.Live {
			err = ctl.Resume(name) // a suspended device cannot be closed
		}
		if err == nil {
			err = ctl.Remove(name)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Empty is the action of deleting all thin devices of a pool but those in
// Keep, and of setting its transaction id back to 0, as a new one has it.
type Empty struct {
	// Pool is the pool's device-mapper name, Metadata its metadata's path.
	Pool, Metadata string
	Keep           []uint32
}

// Shell says what is done.
func (e Empty) Shell() string {
	return fmt.Sprintf("dmsetup message %s 0 'delete N' for every thin device but %v, and 'set_transaction_id … 0'", e.Pool, e.Keep)
}

func (e Empty) do(ctx context.Context, _ *Host) error {
	ids, err := idleThins(e.Metadata)
	if err != nil {
		return err
	}
	ctl, err := dm.Open()
	if err != nil {
		return err
	}
	defer func() { _ = ctl.Close() }()
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if slices.Contains(e.Keep, id) {
			continue
		}
		if _, err := ctl.Message(e.Pool, 0, fmt.Sprintf("delete %d", id)); err != nil {
			return err
		}
	}
	_, status, err := ctl.Status(e.Pool, dm.StatusOptions{})
	if err != nil || len(status) != 1 {
		return errors.Join(err, fmt.Errorf("status of %s: %d targets", e.Pool, len(status)))
	}
	r, err := pool.ParseReport(status[0].Status)
	if err != nil || r.TransactionID == 0 {
		return err
	}
	_, err = ctl.Message(e.Pool, 0, fmt.Sprintf("set_transaction_id %d 0", r.TransactionID))
	return err
}

// RemoveLoopFile is the action of detaching a file from its loop devices and
// removing it.
type RemoveLoopFile string

// Shell is the command line.
func (r RemoveLoopFile) Shell() string {
	file := quote([]string{string(r)})
	return strings.Join([]string{"losetup --associated ", file, " | detach; rm -f ", file}, "")
}

func (r RemoveLoopFile) do(ctx context.Context, _ *Host) error {
	found, err := loop.Find(string(r))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range found {
		if err := loop.Detach(ctx, d); err != nil {
			return err
		}
	}
	err = atomicfile.Remove(string(r))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
