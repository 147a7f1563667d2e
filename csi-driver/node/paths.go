package node

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/internal/mount"
)

// clean gives a path one spelling, so that records compare.
func clean(path string) string { return filepath.Clean(path) }

// directory refuses a path that is no folder.
func directory(field, path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.IsDir() {
		return status.Errorf(codes.InvalidArgument, "%s %s: must be a folder that exists", field, path)
	}
	return err
}

// carries tells whether the mount top on path shows a device: its file system,
// or, bound from /dev, its node.
func carries(path string, top mount.Entry, number uint64) (bool, error) {
	if top.Device == number {
		return true, nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == number, nil
}
