package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
)

// ownerLock is the file in the catalog that the pool's owner has locked.
const ownerLock = "pool.lock"

// lockHolder names the process that holds a lock file, "" for none. It looks
// only: taking the lock to find out could make a daemon's start fail that
// happens at the same moment.
func lockHolder(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); errors.Is(err, unix.ENOENT) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	table, err := os.ReadFile("/proc/locks")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return holderIn(string(table), fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)), nil
}

// holderIn finds the holder of a flock in the text of /proc/locks:
//
//	1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF
func holderIn(table, file string) string {
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		if len(words) >= 6 && words[1] == "FLOCK" && words[5] == file {
			return "process " + words[4]
		}
	}
	return ""
}

// tryOwner is lockHolder for who is about to change the pool: /proc/locks does
// not show the locks of another pid namespace.
func (f *Found) tryOwner() error {
	if f.Mounted == "" || f.Owner != "" {
		return nil
	}
	path := filepath.Join(f.Mounted, ownerLock)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := flock.Try(path)
	if errors.Is(err, flock.ErrHeld) {
		f.Owner = "a process that is not visible here (another container)"
		return nil
	}
	if err != nil {
		return err
	}
	return lock.Release()
}
