package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace is Write without the syncs: atomic against a killed process and
// against readers, not against a power cut. It is for records that a reboot
// makes worthless anyway, and for those that are written under a lock and
// synced behind it by Sync.
func Replace(path string, data []byte, perm fs.FileMode) error {
	return put(path, data, perm, func(*os.File) error { return nil })
}

// Sync makes a file that Replace has put in place durable: two fsyncs, of the
// file and of its folder.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}
