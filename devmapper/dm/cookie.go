package dm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cookie is a System V semaphore that udev's last rule (95-dm-notify.rules,
// dmsetup udevcomplete) counts down to zero. Its key is the magic number and
// the 16 bits that travel with the uevent. Ours has a second semaphore, which
// libdevmapper never looks at: it says whose the set is, so that one which a
// killed process left behind can be told and removed.
type cookie struct {
	base uint16
	id   int
}

const (
	cookieMagic = 0x0d4d
	cookieSets  = 2
	cookieOurs  = 0x5641 // what the second semaphore counts
)

// newCookie makes a semaphore that waits for one uevent.
func newCookie() (cookie, error) {
	for range 64 {
		base := uint16(1 + rand.N(0xffff))
		id, err := semget(cookieMagic<<16|int(base), cookieSets, unix.IPC_CREAT|unix.IPC_EXCL|0o600)
		if errors.Is(err, unix.EEXIST) {
			continue // another one's
		}
		if err != nil {
			return cookie{}, fmt.Errorf("make a semaphore to wait for udevd (limits: /proc/sys/kernel/sem): %w", err)
		}
		k := cookie{base, id}
		if err := errors.Join(semset(id, 1, cookieOurs), semset(id, 0, 1)); err != nil {
			k.destroy()
			return cookie{}, fmt.Errorf("set a semaphore to wait for udevd: %w", err)
		}
		return k, nil
	}
	return cookie{}, fmt.Errorf("every cookie for udevd is taken; list them with dmsetup udevcookies: %w", unix.EBUSY)
}

// wait waits until udevd is through, false when that takes too long.
func (k cookie) wait(patience time.Duration) bool {
	for end := time.Now().Add(patience); ; {
		left := unix.NsecToTimespec(max(0, time.Until(end)).Nanoseconds())
		zero := sembuf{num: 0, op: 0}
		_, _, errno := unix.Syscall6(unix.SYS_SEMTIMEDOP, uintptr(k.id), uintptr(unsafe.Pointer(&zero)), 1, uintptr(unsafe.Pointer(&left)), 0, 0)
		switch errno {
		case 0, unix.EIDRM, unix.EINVAL: // removed by dmsetup udevcomplete_all
			return true
		case unix.EINTR:
		default:
			return false
		}
	}
}

// destroy removes the semaphore. A udevd that answers later finds none, which
// it takes for nothing.
func (k cookie) destroy() { _ = semctl(k.id, 0, unix.IPC_RMID, 0) }
