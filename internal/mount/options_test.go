package mount_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/mount"
)

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		words string
		flags uintptr
		data  string
	}{
		{"", unix.MS_NODEV | unix.MS_NOSUID, ""},
		{"dev ro noatime", unix.MS_NOSUID | unix.MS_RDONLY | unix.MS_NOATIME, ""},
		{"ro,rw discard commit=30", unix.MS_NODEV | unix.MS_NOSUID, "discard,commit=30"},
		{"noatime relatime suid", unix.MS_NODEV | unix.MS_RELATIME, ""},
	} {
		o, err := mount.ParseOptions(unix.MS_NODEV|unix.MS_NOSUID, strings.Fields(c.words))
		if err != nil || o.Flags != c.flags || o.Data != c.data {
			t.Errorf("%q = %#x %q, %v; want %#x %q", c.words, o.Flags, o.Data, err, c.flags, c.data)
		}
	}
	for _, bad := range []string{"bind", "remount,ro", "loop=/dev/loop0", "a,,b", "x\x00y", strings.Repeat("x", 5000)} {
		if _, err := mount.ParseOptions(0, []string{bad}); err == nil {
			t.Errorf("%.20q was accepted", bad)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("noatime,discard")
	f.Add("bind")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := mount.ParseOptions(0, []string{s})
		if err != nil {
			return
		}
		if len(o.Data) > 4095 || strings.ContainsRune(o.Data, 0) || o.Flags&(unix.MS_BIND|unix.MS_REMOUNT|unix.MS_MOVE) != 0 {
			t.Fatalf("%q gives flags %#x, data %q", s, o.Flags, o.Data)
		}
	})
}

func FuzzReadSuper(f *testing.F) {
	f.Add([]byte("XFSB\x00\x00\x10\x00"))
	ext := make([]byte, 2048)
	ext[1024+0x38], ext[1024+0x39], ext[1024+0x18] = 0x53, 0xef, 2
	f.Add(ext)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := mount.ReadSuper(bytes.NewReader(b))
		if err != nil || s.Size < 0 || s.FSType == "" && s != (mount.Super{}) {
			t.Fatalf("%+v, %v", s, err)
		}
	})
}
