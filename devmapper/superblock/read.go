package superblock

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads the superblock of a device or an image. It goes past the page
// cache where it can: xfs writes its superblock past it, so that what the
// cache has of a device may be from before the last mount.
func Read(path string) (Super, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) { // an image on a file system without O_DIRECT
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return Super{}, fmt.Errorf("read the superblock of %s: %w", path, err)
	}
	defer unix.Close(fd)
	s, err := ReadFD(fd)
	if err != nil {
		return Super{}, fmt.Errorf("read the superblock of %s: %w", path, err)
	}
	return s, nil
}

// ReadFD is Read of an open descriptor.
func ReadFD(fd int) (Super, error) {
	head := aligned()
	for n := 0; n < Head; {
		got, err := unix.Pread(fd, head[n:], int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return Super{}, err
		case got == 0:
			return Super{}, fmt.Errorf("%d bytes long: %w", n, errors.Join(io.ErrUnexpectedEOF, ErrNone))
		}
		n += got
	}
	return Parse(head)
}

// aligned returns Head bytes as O_DIRECT wants them: at a multiple of the
// device's block size, which is Head at most (open(2)).
func aligned() []byte {
	b := make([]byte, 2*Head)
	skip := 0
	if rest := int(uintptr(unsafe.Pointer(&b[0])) % Head); rest != 0 {
		skip = Head - rest
	}
	return b[skip : skip+Head : skip+Head]
}
