package image_test

import (
	"archive/tar"
	"fmt"
	"io"
	"strings"

	"github.com/varve-project/varve/test/images"
)

// Streams that archive/tar itself would not write.

// endless declares entry after entry; 20,000 are enough to see that reading
// stops at the limit.
func endless(w io.Writer) error {
	tw := tar.NewWriter(w)
	for i := range 20_000 {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("e", i), Mode: 0o600}); err != nil {
			return err
		}
	}
	return tw.Close()
}

func trailing(w io.Writer) error {
	if err := images.WriteTar(w, images.File("a", "a")); err != nil {
		return err
	}
	_, err := io.CopyN(w, zeroReader{}, 64<<20)
	return err
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sparse writes a GNU sparse file (PAX 0.1) without data that claims a size;
// archive/tar cannot write one itself.
func sparse(size int64) func(io.Writer) error {
	return func(w io.Writer) error {
		records := ""
		for _, kv := range [][2]string{{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.size", fmt.Sprint(size)}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", fmt.Sprintf("%d,0", size)}, {"GNU.sparse.name", "sparse"}} {
			body := " " + kv[0] + "=" + kv[1] + "\n"
			n := len(body) + 2
			if n >= 100 {
				n++
			}
			records += fmt.Sprint(n) + body
		}
		if err := rawHeader(w, "pax", 'x', int64(len(records)), 0); err != nil {
			return err
		}
		padded := records + strings.Repeat("\x00", (512-len(records)%512)%512)
		if _, err := io.WriteString(w, padded); err != nil {
			return err
		}
		if err := rawHeader(w, "sparse", '0', 0, 0); err != nil {
			return err
		}
		_, err := w.Write(make([]byte, 1024))
		return err
	}
}

// bigPax writes an extended header of 2 MiB, which archive/tar would refuse to.
func bigPax(w io.Writer) error {
	body := " SCHILY.xattr.user.x=" + strings.Repeat("x", 2<<20) + "\n"
	body = fmt.Sprint(len(body)+7) + body
	if err := rawHeader(w, "pax", 'x', int64(len(body)), 0); err != nil {
		return err
	}
	if _, err := io.WriteString(w, body+strings.Repeat("\x00", (512-len(body)%512)%512)); err != nil {
		return err
	}
	return images.WriteTar(w, images.File("x", ""))
}

func bigDevice(w io.Writer) error {
	if err := rawHeader(w, "dev", '3', 0, 1<<40); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, 1024))
	return err
}

// rawHeader writes a ustar header block that archive/tar would refuse to.
func rawHeader(w io.Writer, name string, kind byte, size, major int64) error {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	if major > 0 {
		// base-256, as GNU tar writes what octal cannot hold
		b[329] = 0x80
		for i := range 7 {
			b[336-i] = byte(major >> (8 * i))
		}
	}
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	_, err := w.Write(b)
	return err
}
