package thinmeta

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reader reads a metadata device past the page cache. Several goroutines may
// use it at once.
type Reader struct {
	file    *os.File
	buffers sync.Pool
}

var _ io.ReaderAt = (*Reader)(nil)

// OpenDevice opens a pool's metadata, read-only: a block device, or an image
// in a regular file. A block device is read with O_DIRECT, always: the kernel
// writes it beneath the page cache, which would answer with what was there
// when somebody read the block first. A regular file, whose truth is the
// cache, is read through it where its file system knows no O_DIRECT. The
// caller closes the Reader.
func OpenDevice(path string) (*Reader, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) {
		fd, err = openCached(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open pool metadata %s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), path) //nolint:gosec // a descriptor
	r := &Reader{file: file}
	r.buffers.New = func() any { return alignedBlock() }
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		err = errors.New("neither a block device nor a regular file")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open pool metadata %s: %w", path, err), file.Close())
	}
	return r, nil
}

// openCached is for regular files only.
func openCached(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("it does not take O_DIRECT, and a device's cached blocks may be stale")
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// ReadAt reads whole blocks: len(p) and offset must be multiples of BlockSize.
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if len(p)%BlockSize != 0 || offset%BlockSize != 0 || offset < 0 {
		return 0, fmt.Errorf("read %s: %d bytes at %d: not whole blocks of %d bytes", r.file.Name(), len(p), offset, BlockSize)
	}
	buffer, _ := r.buffers.Get().([]byte)
	defer r.buffers.Put(buffer) //nolint:staticcheck // a slice header is small beside a read
	done := 0
	for done < len(p) {
		n, err := r.file.ReadAt(buffer, offset+int64(done))
		done += copy(p[done:], buffer[:n])
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Close closes the device.
func (r *Reader) Close() error { return r.file.Close() }

// alignedBlock returns a block that O_DIRECT takes on any device: one that
// begins at a multiple of its own size.
func alignedBlock() []byte {
	b := make([]byte, 2*BlockSize)
	skip := 0
	if off := int(uintptr(unsafe.Pointer(&b[0])) % BlockSize); off != 0 { //nolint:gosec // only its remainder is used
		skip = BlockSize - off
	}
	return b[skip : skip+BlockSize : skip+BlockSize]
}
