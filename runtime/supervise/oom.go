package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// wasOOMKilled asks the container's memory cgroup, which stays until the OCI
// runtime's delete, whether the kernel killed one of its processes for want
// of memory.
func (s *Supervisor) wasOOMKilled(container string) (bool, error) {
	group := filepath.Join(s.rec.CgroupPath(), container)
	for _, path := range []string{
		filepath.Join("/sys/fs/cgroup/memory", group, "memory.oom_control"),
		filepath.Join("/sys/fs/cgroup", group, "memory.events"),
	} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var n int
			if strings.HasPrefix(lines.Text(), "oom_kill ") {
				_, err := fmt.Sscanf(lines.Text(), "oom_kill %d", &n)
				return n > 0, err
			}
		}
		return false, lines.Err()
	}
	return false, nil
}
