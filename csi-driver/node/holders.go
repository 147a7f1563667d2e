package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/csi-driver/volume"
)

// maxHolders bounds how many processes an error names.
const maxHolders = 5

// holders names the processes that keep a volume busy, as ": held by pid 12
// (cat)", "" when none is found. One may hold it without any file of its own
// open, by a copy of the mount in its mount namespace. It looks only when something has gone wrong
// already, and what it cannot read it leaves out.
func holders(id string, backend volume.Backend) string {
	numbers := map[uint64]bool{}
	for _, readOnly := range []bool{false, true} {
		if d, attached, err := backend.Attached(id, readOnly); err == nil && attached {
			numbers[d.Number] = true
		}
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var found []string
	for _, dir := range dirs {
		if len(found) == maxHolders {
			break
		}
		if holds(dir, numbers) {
			name, _ := os.ReadFile(filepath.Join(dir, "comm"))
			found = append(found, fmt.Sprintf("pid %s (%s)", filepath.Base(dir), strings.TrimSpace(string(name))))
		}
	}
	if len(found) == 0 {
		return ""
	}
	return ": held by " + strings.Join(found, ", ")
}

// holds tells whether a process has something open, or stands, on one of the
// devices, or sees a mount of it that this process does not see.
func holds(proc string, numbers map[uint64]bool) bool {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	if other, err := os.Readlink(filepath.Join(proc, "ns", "mnt")); err == nil && other != own {
		table, _ := os.ReadFile(filepath.Join(proc, "mountinfo"))
		for number := range numbers {
			if strings.Contains(string(table), fmt.Sprintf(" %d:%d ", unix.Major(number), unix.Minor(number))) {
				return true
			}
		}
	}
	links, _ := filepath.Glob(filepath.Join(proc, "fd", "*"))
	for _, link := range append(links, filepath.Join(proc, "cwd"), filepath.Join(proc, "root")) {
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil {
			continue
		}
		if numbers[st.Dev] || st.Mode&unix.S_IFMT == unix.S_IFBLK && numbers[st.Rdev] {
			return true
		}
	}
	return false
}
