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

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/loop"
)

// Mend is the action of repairing a pool's metadata volume into another one,
// both inactive but for the moment.
type Mend struct {
	found *Found
	fresh string
	help  []string
}

// Shell is the command line.
func (m Mend) Shell() string {
	v := m.found.Group.Volume(m.found.Volumes.Pool)
	return mendCommand(dm.Path(lvmDevice(m.found.Group.Name, v.Metadata)), dm.Path(lvmDevice(m.found.Group.Name, m.fresh)), m.help).Shell()
}

func (m Mend) do(ctx context.Context, h *Host) error {
	return m.found.withMetadata(ctx, h, func(from string) error {
		return m.found.withVolume(ctx, h, m.fresh, func(to string) error { return mend(ctx, h, from, to, m.help) })
	})
}

// MendFrom is the action of repairing metadata that were saved in a file onto
// their device.
type MendFrom struct {
	saved, device string
	help          []string
}

// Shell is the command line.
func (m MendFrom) Shell() string { return mendCommand(m.saved, m.device, m.help).Shell() }

// do reads the file through a loop device: thin_repair wants O_DIRECT, which
// not every file system has (tmpfs).
func (m MendFrom) do(ctx context.Context, h *Host) (err error) {
	d, err := loop.Attach(ctx, m.saved, loop.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, loop.Detach(context.WithoutCancel(ctx), d)) }()
	return mend(ctx, h, d.Path, m.device, m.help)
}

func mendCommand(from, to string, help []string) Exec {
	return append(Exec{"thin_repair", "--input", from, "--output", to}, help...)
}

// mend repairs, checks what it made, and says which thin devices are gone.
func mend(ctx context.Context, h *Host, from, to string, help []string) error {
	l := loss{}
	l.before, l.blind = idleThins(from)
	if err := mendCommand(from, to, help).do(ctx, h); err != nil {
		return err
	}
	if _, err := h.run(ctx, "thin_check", to); err != nil {
		return fmt.Errorf("what thin_repair made is not whole, so it is not used: %w", err)
	}
	after, err := idleThins(to)
	if err != nil {
		return fmt.Errorf("the repaired metadata cannot be read: %w", err)
	}
	h.say("# %s", l.words(after))
	return nil
}

// loss compares a pool's thin devices before and after a repair.
type loss struct {
	before []uint32
	// blind is why the list before could not be read.
	blind error
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
