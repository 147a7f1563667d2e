package supervise

import (
	"context"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reapOrphans takes the zombies that nobody waits for: processes of a
// container whose real parent, an OCI runtime, was killed. As long as one is
// there, the container's first process cannot end (pid_namespaces(7)).
//
// A child that somebody waits for is a zombie for an instant only, so one
// that is seen twice, a moment apart, is an orphan.
func reapOrphans(ctx context.Context) {
	seen := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
		for {
			pid := someZombie()
			if pid == 0 || pid != seen {
				seen = pid
				break
			}
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			seen = someZombie() // an orphan of the same family, perhaps
			if seen == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// someZombie is the pid of a child that has ended and was not waited for, 0
// when there is none. It stays as it is.
func someZombie() int {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0
	}
	// siginfo_t: three ints, aligned to a word, then si_pid (sigaction(2)).
	const offset = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset)))
}
