package pod

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process names a process beyond doubt within one boot: a pid may be used
// again, a pid with its start time is not.
type Process struct {
	Pid int
	// StartTicks is field 22 of /proc/PID/stat.
	StartTicks uint64
}

// ErrNoProcess means that the process has ended.
var ErrNoProcess = errors.New("process has ended")

// FindProcess returns the process that has a pid now. The error wraps
// ErrNoProcess when there is none, or only its zombie.
func FindProcess(pid int) (Process, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, ErrNoProcess)
	}
	// The name, field 2, is in parentheses and may hold anything.
	_, rest, ok := cutLast(string(data), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return Process{}, fmt.Errorf("process %d: cannot read /proc/%d/stat: %q", pid, pid, data)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return Process{}, fmt.Errorf("process %d: %w", pid, ErrNoProcess)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return Process{pid, ticks}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Open returns a pidfd of exactly this process; the caller closes it. The
// error wraps ErrNoProcess when it has ended.
func (p Process) Open() (int, error) {
	if p.Pid <= 0 {
		return -1, ErrNoProcess
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if err != nil {
		return -1, fmt.Errorf("process %d: %w", p.Pid, ErrNoProcess)
	}
	// Looked at after the pidfd was opened: when it is still the same, the
	// pidfd is of it.
	now, err := FindProcess(p.Pid)
	if err == nil && now == p {
		return fd, nil
	}
	return -1, errors.Join(fmt.Errorf("process %d: %w", p.Pid, ErrNoProcess), unix.Close(fd))
}

// Signal sends a signal to exactly this process. The error wraps
// ErrNoProcess when it has ended.
func (p Process) Signal(sig unix.Signal) error {
	fd, err := p.Open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("process %d: %w", p.Pid, ErrNoProcess)
		}
		return fmt.Errorf("signal process %d: %w", p.Pid, err)
	}
	return nil
}

// String is the form that ParseProcess reads.
func (p Process) String() string { return fmt.Sprintf("%d %d", p.Pid, p.StartTicks) }

// ParseProcess reads what String wrote.
func ParseProcess(s string) (Process, error) {
	var p Process
	if _, err := fmt.Sscanf(strings.TrimSpace(s), "%d %d", &p.Pid, &p.StartTicks); err != nil {
		return p, fmt.Errorf("read process from %q: %w", s, err)
	}
	return p, nil
}
