package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/atomicfile"
)

// WriteFile is the action of replacing a file, its folder made where absent.
type WriteFile struct {
	Path, Content string
	Mode          fs.FileMode
}

// Shell says what is done.
func (w WriteFile) Shell() string { return fmt.Sprintf("write %s (%d bytes)", w.Path, len(w.Content)) }

func (w WriteFile) do(context.Context, *Host) error {
	if err := os.MkdirAll(filepath.Dir(w.Path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(w.Path, []byte(w.Content), w.Mode)
}

// RemoveFile is the action of removing a file.
type RemoveFile string

// Shell is the command line.
func (r RemoveFile) Shell() string { return quote([]string{"rm", "-f", string(r)}) }

func (r RemoveFile) do(context.Context, *Host) error { return atomicfile.Remove(string(r)) }

// RemoveDir is the action of removing a folder, if it is empty.
type RemoveDir string

// Shell is the command line.
func (r RemoveDir) Shell() string {
	return quote([]string{"rmdir", "--ignore-fail-on-non-empty", string(r)})
}

func (r RemoveDir) do(context.Context, *Host) error {
	entries, err := os.ReadDir(string(r))
	if err != nil || len(entries) > 0 {
		return ignoreAbsent(err)
	}
	return ignoreAbsent(os.Remove(string(r)))
}

// MakeFile is the action of making a sparse file of a size. One that exists
// keeps its content; a shorter one grows, a longer one is left.
type MakeFile struct {
	Path  string
	Bytes uint64
}

// Shell is the command line.
func (m MakeFile) Shell() string {
	return quote([]string{"truncate", "--size", fmt.Sprintf(">%d", m.Bytes), m.Path})
}

func (m MakeFile) do(context.Context, *Host) error {
	if err := os.MkdirAll(filepath.Dir(m.Path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(m.Path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && uint64(info.Size()) < m.Bytes {
		err = f.Truncate(int64(m.Bytes))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(m.Path))
}

// Zero is the action of clearing the first bytes of a device.
type Zero struct {
	Device string
	Bytes  uint64 // a multiple of 64 KiB
}

// superBytes covers a thin pool's superblock: with it zero, the kernel takes
// the device for new.
const superBytes = 64 * kib

// Shell is the command line.
func (z Zero) Shell() string {
	return quote([]string{"dd", "if=/dev/zero", "of=" + z.Device, "bs=64K", fmt.Sprintf("count=%d", z.Bytes/superBytes), "conv=fsync"})
}

func (z Zero) do(context.Context, *Host) error { return z.run() }

func (z Zero) run() error {
	f, err := os.OpenFile(z.Device, os.O_WRONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, z.Bytes), 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
