package kernel

import (
	"bytes"
	"fmt"
)

// Archive is an initramfs in the making: a cpio archive of the "newc" form
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type Archive struct {
	buf   bytes.Buffer
	inode int
}

// Modes of what an initramfs here holds.
const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

// Dir adds a folder, whose parents were added before.
func (a *Archive) Dir(path string) { a.entry(path, modeDir, nil) }

// File adds a file that can be executed.
func (a *Archive) File(path string, data []byte) { a.entry(path, modeFile, data) }

// Bytes ends the archive and returns it.
func (a *Archive) Bytes() []byte {
	a.entry("TRAILER!!!", 0, nil)
	return a.buf.Bytes()
}

func (a *Archive) entry(path string, mode int, data []byte) {
	a.inode++
	// inode mode uid gid nlink mtime size major minor rmajor rminor namesize check
	fmt.Fprintf(&a.buf, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path)+1, 0)
	a.buf.WriteString(path + "\x00")
	a.pad()
	a.buf.Write(data)
	a.pad()
}

// pad fills up to a multiple of four bytes.
func (a *Archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}
