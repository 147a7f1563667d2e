package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// fewFiles is up to how many entries a layer is synced file by file.
const fewFiles = 64

// errMany says that a layer is better synced with all of its file system.
var errMany = errors.New("more than a few plain files")

// syncFew makes a layer of a few files durable by fsync of each. syncfs(2)
// waits for everything that anybody wrote to the file system: beside a
// container that writes gigabytes the Commit of a small layer would take as
// long as those, with containerd's own database locked meanwhile. It returns
// errMany for a layer with more, or with other kinds of files: an fsync of
// their directory need not cover the owner of a symbolic link.
func syncFew(ctx context.Context, layer string) error {
	dirs := []string{layer}
	var files []string
	for next := 0; next < len(dirs); next++ {
		entries, err := firstEntries(dirs[next], fewFiles)
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dirs[next], e.Name())
			switch {
			case len(files)+len(dirs) == fewFiles:
				return errMany
			case e.IsDir():
				dirs = append(dirs, path)
			case e.Type().IsRegular():
				files = append(files, path)
			default:
				return errMany
			}
		}
	}
	// Files first: once a directory is durable, all it names is.
	paths := files
	for i := len(dirs) - 1; i >= 0; i-- {
		paths = append(paths, dirs[i])
	}
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fsync(path); err != nil {
			return err
		}
	}
	return nil
}

// littleBytes is how much unwritten data of all file systems a Commit does
// not mind to wait for.
const littleBytes = 4 << 20

// littleDirty tells whether syncfs(2) has little to write: then it is cheaper
// than an fsync of every file and directory, each of which waits for the disk,
// and spares the next Commit the same. What cannot be told is not little.
func littleDirty() bool {
	text, err := os.ReadFile("/proc/meminfo")
	return err == nil && dirtyBytes(text) <= littleBytes
}

// dirtyBytes reads Dirty and Writeback from the text of proc_meminfo(5).
func dirtyBytes(text []byte) int64 {
	var sum int64
	for _, key := range []string{"\nDirty:", "\nWriteback:"} {
		_, rest, found := bytes.Cut(text, []byte(key))
		line, _, _ := bytes.Cut(rest, []byte("kB"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
		if !found || err != nil {
			return math.MaxInt64
		}
		sum += n << 10
	}
	return sum
}

// firstEntries reads no more than n entries, in no order.
func firstEntries(dir string, n int) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(n)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return entries, err
}

func fsync(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write data to the disk: %w; look at the kernel log for I/O errors", err)
	}
	return nil
}
