// Package atomicfile makes a small file appear, change or vanish in one step
// that survives a power cut: write beside it, sync, rename, sync the folder.
// A reader sees the old content or the new, never a part.
//
// It is what every record of Varve that is a file of its own goes through
// (pods, leases, volumes). It owns no lock: callers that race for one file
// hold internal/flock.
package atomicfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempPrefix begins the name of every file that is not yet renamed into place.
const tempPrefix = ".tmp-"

// Write replaces path with data. The temporary file is path's folder plus
// ".tmp-*"; one that a crash left is removed by Clean.
func Write(path string, data []byte, perm fs.FileMode) error {
	if err := put(path, data, perm, (*os.File).Sync); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// put writes data beside path, hands the file to settle, and renames it into
// place. Nothing of it is left when it fails.
func put(path string, data []byte, perm fs.FileMode, settle func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if err = settle(f); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// WriteJSON is Write of v's indented JSON form, mode 0600.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return Write(path, append(data, '\n'), 0o600)
}

// ReadJSON reads what WriteJSON wrote. The error wraps fs.ErrNotExist when
// there is no such file.
func ReadJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// Remove deletes path durably. Removing what is absent is no error; the folder
// is synced all the same, because the one who removed it may have been killed
// before its own sync.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := SyncDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the folder is gone, and the file with it
	}
	return err
}

// Clean removes the temporary files that a crash left in dir. Call it only
// where no Write into dir can be under way. An absent dir has none.
func Clean(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), tempPrefix) {
			continue
		}
		err := os.Remove(filepath.Join(dir, entry.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// SyncDir makes the entries of dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
