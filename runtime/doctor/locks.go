package doctor

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/runtime/pod"
)

// locks are the files on which somebody holds a flock, by the form in which
// /proc/locks names them. Trying a lock would tell as well, but whoever wants
// it in that moment would find it held by us.
type locks map[string]bool

func heldLocks() (locks, error) {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	held := locks{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 1: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF; one who waits
		// for the lock is marked "->" in the second field.
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" {
			held[fields[5]] = true
		}
	}
	return held, lines.Err()
}

// has tells whether path is locked. What is absent is not. In a PID namespace
// /proc/locks leaves out a lock whose taker has ended, and a supervisor
// inherits its lock from the command that started it: then the process that
// left its name in the file counts, if it lives.
func (l locks) has(path string) bool {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false
	}
	return l[fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)] || holderLives(path)
}

func holderLives(path string) bool {
	name, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	holder, err := pod.ParseProcess(string(name))
	if err != nil {
		return false
	}
	now, err := pod.FindProcess(holder.Pid)
	return err == nil && now == holder
}
