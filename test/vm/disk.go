package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
)

// sector is the unit of a disk's size.
const sector = 512

// open returns the disk's file, of the disk's size. One without a path has no
// name any more when this returns, so that nothing of it can be left behind.
func (d Disk) open() (*os.File, error) {
	if d.Size <= 0 || d.Size%sector != 0 {
		return nil, fmt.Errorf("a disk of %d bytes: give a positive multiple of %d", d.Size, sector)
	}
	f, err := d.file()
	if err != nil {
		return nil, fmt.Errorf("a disk of %d bytes: %w", d.Size, err)
	}
	if err := f.Truncate(d.Size); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("a disk of %d bytes: %w", d.Size, err)
	}
	return f, nil
}

func (d Disk) file() (*os.File, error) {
	if d.Path != "" {
		return os.OpenFile(d.Path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	// Disks are large and sparse; /tmp may be memory.
	f, err := os.CreateTemp("/var/tmp", "varve-vm-disk-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// diskName is the guest's name of a disk, by its place.
func diskName(i int) string { return "/dev/vd" + string(rune('a'+i)) }

// newTmp returns a disk for /tmp, with its file system: this machine makes it
// in a moment, the guest would take seconds.
func newTmp(ctx context.Context, size int64) (*os.File, error) {
	f, err := Disk{Size: size}.open()
	if err != nil {
		return nil, fmt.Errorf("/tmp: %w", err)
	}
	// It has no name any more, but its process can be given the file.
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("/tmp: mkfs.ext4: %w: %s", err, bytes.TrimSpace(out))
	}
	return f, nil
}
