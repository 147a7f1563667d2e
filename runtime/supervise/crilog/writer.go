// Package crilog writes and reads container logs in CRI's format, one line
// per line of output:
//
//	2016-10-06T00:17:09.669794202Z stdout F the text
//
// F ends a line of output, P is a part of a long one. A file that has grown
// past a limit is renamed, with the time in its name, and the oldest are
// removed. The package knows files only, no containers.
package crilog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"
)

const (
	// MaxBytes is how far a log grows before it is rotated, and MaxFiles
	// how many files of one log are kept; both are kubelet's defaults.
	MaxBytes = 10 << 20
	MaxFiles = 5
	// maxLine is how much of a line of output one line of the log takes;
	// containerd's default.
	maxLine = 16 << 10
)

// Writer appends to one log. Its methods may be called from several
// goroutines.
type Writer struct {
	path     string
	maxBytes int64
	maxFiles int

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens the log at path for appending. A last line that a crash cut
// short is ended, so that the next one stands alone.
func Open(path string) (*Writer, error) {
	w := &Writer{path: path, maxBytes: MaxBytes, maxFiles: MaxFiles}
	return w, w.open()
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	w.file, w.size = f, info.Size()
	last := make([]byte, 1)
	if w.size > 0 {
		if _, err := f.ReadAt(last, w.size-1); err == nil && last[0] != '\n' {
			n, err := f.Write([]byte{'\n'})
			w.size += int64(n)
			if err != nil {
				return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
			}
		}
	}
	return nil
}

// Copy reads r to its end and writes what it says under the stream's name.
func (w *Writer) Copy(stream string, r io.Reader) error {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		text, err := in.ReadSlice('\n')
		tag := "F"
		switch {
		case err == nil:
			text = text[:len(text)-1]
		case errors.Is(err, bufio.ErrBufferFull):
			tag = "P"
		case errors.Is(err, io.EOF) && len(text) == 0:
			return nil
		case len(text) == 0:
			return err
		}
		if werr := w.line(stream, tag, text); werr != nil {
			return werr
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// line writes one line, in one write, and rotates when the file is full.
func (w *Writer) line(stream, tag string, text []byte) error {
	line := make([]byte, 0, len(text)+64)
	line = time.Now().UTC().AppendFormat(line, "2006-01-02T15:04:05.000000000Z07:00")
	line = fmt.Appendf(line, " %s %s ", stream, tag)
	line = append(append(line, text...), '\n')
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.file.Write(line)
	w.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if w.size < w.maxBytes {
		return nil
	}
	return w.rotate()
}

func (w *Writer) rotate() error {
	old := w.path + "." + time.Now().UTC().Format("20060102-150405.000000000")
	if err := os.Rename(w.path, old); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := w.open(); err != nil {
		return err
	}
	files, err := Rotated(w.path)
	if err != nil {
		return err
	}
	for len(files) >= w.maxFiles {
		if err := os.Remove(files[0]); err != nil {
			return fmt.Errorf("rotate log: %w", err)
		}
		files = files[1:]
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Close()
}

// Rotated lists the older files of a log, oldest first.
func Rotated(path string) ([]string, error) {
	files, err := filepath.Glob(path + ".*")
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	sort.Strings(files)
	return files, nil
}
