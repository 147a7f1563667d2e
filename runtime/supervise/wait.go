package supervise

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/runtime/pod"
)

// exit is how a run ended. A nil code means that nobody saw it.
type exit struct {
	code   *int
	reason string
	text   string
}

// afterExit is how long a container's output may stay open after its end.
func afterExit() <-chan time.Time { return time.After(2 * time.Second) }

func closeFD(fd int) { _ = unix.Close(fd) }

// becomeSubreaper makes this process the parent of the containers' first
// processes once the OCI runtime, their real parent, has exited.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	return nil
}

// waitExit waits for the end of a run.
func waitExit(r *running) exit {
	if r.child {
		return waitChild(r.proc.Pid)
	}
	return waitAdopted(r.proc)
}

func waitChild(pid int) exit {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return lost(fmt.Sprintf("wait for process %d: %v", pid, err))
		}
		return exited(ws)
	}
}

func exited(ws unix.WaitStatus) exit {
	code, reason := ws.ExitStatus(), "Completed"
	if ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	if code != 0 {
		reason = "Error"
	}
	return exit{code: &code, reason: reason}
}

func lost(why string) exit {
	return exit{reason: "ExitStatusLost", text: why}
}

// waitAdopted waits for a process that is not our child. Its parent reaps
// it; a kernel from 6.15 on keeps its exit status at a pidfd that was open
// before.
func waitAdopted(p pod.Process) exit {
	fd, err := p.Open()
	if err != nil {
		return lost("it ended while no supervisor looked after the pod")
	}
	defer closeFD(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return lost(fmt.Sprintf("wait for process %d: %v", p.Pid, err))
		}
	}
	// The status is there once the parent has reaped the process.
	for range 50 {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info)))
		if errno == 0 && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return exited(unix.WaitStatus(info.Exit_code))
		}
		if errno == unix.ENOTTY || errno == unix.EINVAL {
			break // an older kernel
		}
		time.Sleep(10 * time.Millisecond)
	}
	return lost("the supervisor that started it was killed, and its parent did not pass on how it ended")
}
