package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"time"
)

// Epoch is the modification time of everything built here, so that equal
// input gives equal digests.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Entry is one entry of a layer: a tar header that is written as it is, and
// the bytes behind it. Nothing is checked; hostile entries are the point.
type Entry struct {
	tar.Header
	Body []byte
	// BodyFrom streams a large body of Header.Size bytes instead of Body.
	BodyFrom io.Reader
}

func entry(kind byte, name string, mode int64) Entry {
	return Entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: mode, ModTime: Epoch, Format: tar.FormatPAX}}
}

// File is a regular file, mode 0644, owned by root.
func File(name, body string) Entry {
	e := entry(tar.TypeReg, name, 0o644)
	e.Body, e.Size = []byte(body), int64(len(body))
	return e
}

// Zeros is a regular file of n zero bytes: n in the tar, next to nothing
// when compressed.
func Zeros(name string, n int64) Entry {
	e := entry(tar.TypeReg, name, 0o644)
	e.BodyFrom, e.Size = io.LimitReader(zeros{}, n), n
	return e
}

// Dir is a directory, mode 0755.
func Dir(name string) Entry { return entry(tar.TypeDir, name+"/", 0o755) }

// Symlink points at target, which need not exist.
func Symlink(name, target string) Entry {
	e := entry(tar.TypeSymlink, name, 0o777)
	e.Linkname = target
	return e
}

// Hardlink is a further name of target, which is an earlier entry's name.
func Hardlink(name, target string) Entry {
	e := entry(tar.TypeLink, name, 0o644)
	e.Linkname = target
	return e
}

// CharDevice is a character device node.
func CharDevice(name string, major, minor int64) Entry {
	e := entry(tar.TypeChar, name, 0o666)
	e.Devmajor, e.Devminor = major, minor
	return e
}

// BlockDevice is a block device node.
func BlockDevice(name string, major, minor int64) Entry {
	e := CharDevice(name, major, minor)
	e.Typeflag = tar.TypeBlock
	return e
}

// Fifo is a named pipe.
func Fifo(name string) Entry { return entry(tar.TypeFifo, name, 0o644) }

// Whiteout deletes name of the layers below.
func Whiteout(name string) Entry {
	return File(path.Join(path.Dir(name), ".wh."+path.Base(name)), "")
}

// Opaque hides what the layers below have in the directory.
func Opaque(dir string) Entry { return File(path.Join(dir, ".wh..wh..opq"), "") }

// Modes sets the permission bits, setuid and setgid included.
func (e Entry) Modes(mode int64) Entry { e.Mode = mode; return e }

// Owner sets the numeric owner.
func (e Entry) Owner(uid, gid int) Entry { e.Uid, e.Gid = uid, gid; return e }

// Xattr adds an extended attribute.
func (e Entry) Xattr(name, value string) Entry {
	records := map[string]string{"SCHILY.xattr." + name: value}
	for k, v := range e.PAXRecords {
		records[k] = v
	}
	e.PAXRecords = records
	return e
}

// WriteTar writes entries as one tar stream.
func WriteTar(w io.Writer, entries ...Entry) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		if err := tw.WriteHeader(&e.Header); err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, err)
		}
		body := e.BodyFrom
		if body == nil {
			body = bytes.NewReader(e.Body)
		}
		if _, err := io.Copy(tw, body); err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, err)
		}
	}
	return tw.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
