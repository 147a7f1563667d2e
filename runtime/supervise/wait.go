package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
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

// waitAdopted waits for a process that is not our child. How it ended is in
// /proc as long as it is a zombie; once its parent has reaped it, a kernel
// from 6.15 on keeps it at a pidfd that was open before.
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
	for range 50 {
		if ws, ok := zombieStatus(p); ok {
			return exited(ws)
		}
		if ws, ok := reapedStatus(fd); ok {
			return exited(ws)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return lost("the supervisor that started it was killed, and the kernel no longer knows how it ended")
}

// zombieStatus reads field 52 of /proc/PID/stat.
func zombieStatus(p pod.Process) (unix.WaitStatus, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	if err != nil {
		return 0, false
	}
	// The name, field 2, is in parentheses and may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 50 || fields[0] != "Z" || fields[19] != strconv.FormatUint(p.StartTicks, 10) {
		return 0, false
	}
	code, err := strconv.Atoi(fields[49])
	return unix.WaitStatus(code), err == nil
}

// reapedStatus asks the pidfd. Older kernels answer ENOTTY.
func reapedStatus(fd int) (unix.WaitStatus, bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info)))
	return unix.WaitStatus(info.Exit_code), errno == 0 && info.Mask&unix.PIDFD_INFO_EXIT != 0
}
