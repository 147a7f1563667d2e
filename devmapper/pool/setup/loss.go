package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/atomicfile"
)

// loss compares a pool's thin devices before and after a repair.
type loss struct {
	before []uint32
	// blind is why the list before could not be read.
	blind error
}

// Survey is the action of listing thin devices, before a repair and after it,
// where it says what was lost.
type Survey struct {
	found *Found
	loss  *loss
	after bool
}

// Shell says what is done.
func (s Survey) Shell() string { return "read the device-details tree of the metadata" }

func (s Survey) do(ctx context.Context, h *Host) error {
	var ids []uint32
	err := s.found.withMetadata(ctx, h, func(node string) (err error) {
		ids, err = idleThins(node)
		return err
	})
	if !s.after {
		s.loss.before, s.loss.blind = ids, err
		return ctx.Err() // damaged metadata are why we are here
	}
	if err != nil {
		return fmt.Errorf("the repaired metadata cannot be read: %w", err)
	}
	h.say("# %s", s.loss.words(ids))
	return nil
}

func (l *loss) words(after []uint32) string {
	if l.blind != nil {
		return fmt.Sprintf("%d thin devices are left; how many there were could not be read (%v); the daemon's start says which snapshots miss theirs", len(after), l.blind)
	}
	var lost []uint32
	for _, id := range l.before {
		if !slices.Contains(after, id) {
			lost = append(lost, id)
		}
	}
	if len(lost) == 0 {
		return fmt.Sprintf("all %d thin devices are left", len(after))
	}
	return fmt.Sprintf("%d thin devices are left, %d were lost: %v; the daemon's start says which snapshots were on them", len(after), len(lost), lost)
}

// CopyDevice is the action of copying a device into a file, which appears when
// it is whole.
type CopyDevice struct{ From, To string }

// Shell is the command line.
func (c CopyDevice) Shell() string {
	return quote([]string{"dd", "if=" + c.From, "of=" + c.To, "bs=1M", "conv=fsync"})
}

func (c CopyDevice) do(ctx context.Context, _ *Host) (err error) {
	from, err := os.OpenFile(c.From, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	part := c.To + ".part"
	to, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, readerOf(ctx, from))
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := os.Rename(part, c.To); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(c.To))
}

// readerOf is r until ctx ends.
func readerOf(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context // a reader has no other way to hear of it
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
