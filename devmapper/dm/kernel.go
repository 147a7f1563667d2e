package dm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel is the boundary: one ioctl of the control device. The buffer begins
// with a struct dm_ioctl whose data_size is len(buffer); the kernel answers in
// place. A failed ioctl returns the bare errno. Implementations are safe for
// concurrent use.
type Kernel interface {
	Ioctl(request uintptr, buffer []byte) error
}

// control is the kernel itself, behind an open control device.
type control struct {
	file *os.File
	node string
}

// Ioctl starts again when a signal interrupted it: device-mapper undoes what
// it had begun (a suspend that waits for I/O) before it reports EINTR.
func (c *control) Ioctl(request uintptr, buffer []byte) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		for {
			_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&buffer[0])))
			runtime.KeepAlive(buffer)
			if !errors.Is(errno, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// openControl opens the control device. It is non-blocking so that the
// runtime's poller takes it: an event wait then costs no thread. (ioctls know
// no such thing; they block.)
func openControl(node string) (*control, error) {
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", node, err)
	}
	return &control{file: os.NewFile(uintptr(fd), node), node: node}, nil
}

func (c *control) Close() error { return c.file.Close() }
