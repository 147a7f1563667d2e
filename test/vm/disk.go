package vm

import (
	"fmt"
	"os"
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
