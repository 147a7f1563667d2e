package doctor

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeSeccomp asks the kernel for the two actions that a profile cannot do
// without. seccomp(2), SECCOMP_GET_ACTION_AVAIL; it changes nothing.
func probeSeccomp() error {
	for name, action := range map[string]uint32{
		"SECCOMP_RET_ALLOW": unix.SECCOMP_RET_ALLOW, "SECCOMP_RET_ERRNO": unix.SECCOMP_RET_ERRNO,
	} {
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
		if errno != 0 {
			return fmt.Errorf("%s: %w", name, errno)
		}
	}
	return nil
}
