package overlay

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// mountTable knows the upper directories of all overlays mounted in this
// mount namespace. It reads the kernel's table anew only after the kernel
// said that it changed (poll(2) on mountinfo: proc(5)), so that a garbage
// collection of a hundred snapshots reads it once.
type mountTable struct {
	mu     sync.Mutex
	file   *os.File
	uppers map[string]string // upper directory to mount point
}

// mountPoint returns where upper is mounted as an overlay's upper directory,
// "" when it is not.
func (t *mountTable) mountPoint(upper string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		// Not os.Open: Go's poller would poll the file as well, and the
		// kernel tells each change to one of the two only.
		fd, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", fmt.Errorf("open the mount table: %w", err)
		}
		t.file = os.NewFile(uintptr(fd), "/proc/self/mountinfo")
	} else if !t.changed() && t.uppers[upper] == "" {
		// Only the answer "not mounted" is taken from memory: the kernel
		// has been seen to stay silent about an unmount, and a refusal
		// must be true.
		return "", nil
	}
	if err := t.read(); err != nil {
		return "", fmt.Errorf("read the mount table: %w", err)
	}
	return t.uppers[upper], nil
}

// changed asks the kernel; the answer also re-arms the question.
func (t *mountTable) changed() bool {
	p := []unix.PollFd{{Fd: int32(t.file.Fd()), Events: unix.POLLPRI}}
	n, err := unix.Poll(p, 0)
	return err != nil || n > 0
}

func (t *mountTable) read() error {
	// Arm the poll before reading: a change during the read shows next time.
	t.changed()
	if _, err := t.file.Seek(0, 0); err != nil {
		return err
	}
	uppers := map[string]string{}
	lines := bufio.NewReaderSize(t.file, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if upper, point, ok := parseMount(line); ok {
				uppers[upper] = point
			}
		}
		if err != nil {
			break
		}
	}
	t.uppers = uppers
	return nil
}

// parseMount picks the upper directory and the mount point out of one line
// of mountinfo (proc(5)); ok is false for everything but overlays that have
// an upper directory.
func parseMount(line []byte) (upper, point string, ok bool) {
	if !bytes.Contains(line, []byte(" - overlay ")) {
		return "", "", false
	}
	fields := strings.Fields(string(line))
	if len(fields) < 7 {
		return "", "", false
	}
	for _, option := range strings.Split(fields[len(fields)-1], ",") {
		if dir, found := strings.CutPrefix(option, "upperdir="); found {
			return unescape(dir), unescape(fields[4]), true
		}
	}
	return "", "", false
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n := octal(s[i+1 : i+4]); n >= 0 {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '7' {
			return -1
		}
		n = n*8 + int(s[i]-'0')
	}
	if n > 255 {
		return -1
	}
	return n
}

// Close ends the table.
func (t *mountTable) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

func unmount(path string) error { return unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH) }
