package dm

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sembuf is struct sembuf of semop(2).
type sembuf struct {
	num uint16
	op  int16
	flg int16
}

// Commands of semctl(2), which x/sys does not name.
const (
	semGetPID = 11
	semGetVal = 12
	semSetVal = 16
)

func semget(key, sets, flags int) (int, error) {
	id, _, errno := unix.Syscall(unix.SYS_SEMGET, uintptr(key), uintptr(sets), uintptr(flags))
	if errno != 0 {
		return 0, errno
	}
	return int(id), nil
}

func semctl(id, num, cmd, value int) error {
	_, err := semask(id, num, cmd, value)
	return err
}

func semset(id, num, value int) error { return semctl(id, num, semSetVal, value) }

func semask(id, num, cmd, value int) (int, error) {
	r, _, errno := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), uintptr(num), uintptr(cmd), uintptr(value), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// semdrop takes one off, as dmsetup udevcomplete does.
func semdrop(id int) error {
	op := sembuf{num: 0, op: -1, flg: unix.IPC_NOWAIT}
	_, _, errno := unix.Syscall(unix.SYS_SEMOP, uintptr(id), uintptr(unsafe.Pointer(&op)), 1)
	if errno != 0 {
		return errno
	}
	return nil
}

// reapCookies removes the semaphores of our kind whose process is gone: it was
// killed while it waited for udevd. The rest of the machine's are left alone.
func reapCookies() {
	for _, id := range cookieSetIDs() {
		if orphaned(id) {
			cookie{id: id}.destroy()
		}
	}
}

// cookieSetIDs are the sets that look like ours. None where the kernel has no
// System V semaphores; newCookie will say so.
func cookieSetIDs() (ids []int) {
	f, err := os.Open("/proc/sysvipc/sem")
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // key semid perms nsems …
		if len(fields) < 4 || fields[3] != strconv.Itoa(cookieSets) {
			continue
		}
		key, keyErr := strconv.Atoi(fields[0])
		id, idErr := strconv.Atoi(fields[1])
		if keyErr == nil && idErr == nil && key>>16 == cookieMagic {
			ids = append(ids, id)
		}
	}
	return ids
}

// orphaned tells whether the set is one of ours and the process that set its
// second semaphore is gone. A process of another pid namespace shows as 0.
func orphaned(id int) bool {
	value, err := semask(id, 1, semGetVal, 0)
	if err != nil || value != cookieOurs {
		return false
	}
	pid, err := semask(id, 1, semGetPID, 0)
	return err == nil && pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}
