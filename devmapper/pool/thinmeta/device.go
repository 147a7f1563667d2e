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
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC // a FIFO must not hang us
	fd, err := unix.Open(path, flags|unix.O_DIRECT, 0)
	direct := err == nil
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open pool metadata %s: %w", path, err)
	}
	r := &Reader{file: os.NewFile(uintptr(fd), path)} //nolint:gosec // a descriptor
	r.buffers.New = func() any { return alignedBlock() }
	if err := checkKind(r.file, direct); err != nil {
		return nil, errors.Join(fmt.Errorf("open pool metadata %s: %w", path, err), r.file.Close())
	}
	return r, nil
}

func checkKind(file *os.File, direct bool) error {
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case info.Mode().IsRegular():
		return nil
	case info.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice:
		return errors.New("neither a block device nor a regular file")
	case !direct:
		return errors.New("the device does not take O_DIRECT, and its cached blocks may be stale")
	}
	return nil
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
