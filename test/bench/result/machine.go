package result

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// New starts a file for a run on this machine whose data lies in dir.
func New(bench, dir string, rounds int) (File, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return File{}, fmt.Errorf("uname: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return File{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return File{
		Bench:      bench,
		Time:       time.Now().UTC().Truncate(time.Second),
		Kernel:     unix.ByteSliceToString(uts.Release[:]),
		CPUs:       runtime.NumCPU(),
		FileSystem: fsName(int64(fs.Type)), //nolint:unconvert // 32 bits on other machines
		Rounds:     rounds,
	}, nil
}

// TempDir makes a folder of the run's own below dir and returns its absolute
// path; the caller removes it.
func TempDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, "run-")
}

func fsName(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC:      "ext4",
		unix.XFS_SUPER_MAGIC:       "xfs",
		unix.BTRFS_SUPER_MAGIC:     "btrfs",
		unix.TMPFS_MAGIC:           "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", magic)
}
