package guest

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// termWait is what processes get between SIGTERM and SIGKILL.
const termWait = 3 * time.Second

// powerOff ends the machine as an init does: processes, then file systems on
// disks, then the power. What cannot be unmounted is synced.
func powerOff() error {
	_ = unix.Kill(-1, unix.SIGTERM)
	for end := time.Now().Add(termWait); time.Now().Before(end) && othersRun(); {
		time.Sleep(50 * time.Millisecond)
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	for _, target := range diskMounts() {
		_ = unix.Unmount(target, 0)
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// othersRun says whether a process besides this one and process 1 has a
// command line, as kernel threads have none.
func othersRun() bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	for _, entry := range entries {
		name := entry.Name()
		if name[0] < '1' || name[0] > '9' || name == "1" {
			continue
		}
		if text, err := os.ReadFile("/proc/" + name + "/cmdline"); err == nil && len(text) > 0 && !strings.HasPrefix(string(text), AgentArg) &&
			!strings.Contains(string(text), "\x00"+AgentArg) {
			return true
		}
	}
	return false
}

// diskMounts lists mounts of block devices, the last first.
func diskMounts() []string {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil
	}
	defer f.Close()
	var targets []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && strings.HasPrefix(fields[0], "/dev/") {
			targets = append(targets, strings.ReplaceAll(fields[1], `\040`, " "))
		}
	}
	slices.Reverse(targets)
	return targets
}
