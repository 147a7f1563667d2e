package network

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespaces outlive the thread that made them, are the same when pinned
// again, are made anew when one is missing, and leave nothing when unpinned.
func TestPin(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	p := Pins{Net: filepath.Join(dir, "n", "net"), IPC: filepath.Join(dir, "ipc"), UTS: filepath.Join(dir, "uts")}
	t.Cleanup(func() {
		if err := Unpin(p); err != nil {
			t.Error(err)
		}
	})
	if err := Pin(p, "pinned"); err != nil {
		t.Fatal(err)
	}
	first := inode(t, p.Net)
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &own); err != nil || own.Ino == first {
		t.Fatalf("the pod has the host's network: %v", err)
	}
	look(t, p)
	if err := Pin(p, "pinned"); err != nil || inode(t, p.Net) != first {
		t.Errorf("pinned again: %v", err)
	}
	if err := unpin(p.IPC); err != nil { // half a set, as a crash leaves it
		t.Fatal(err)
	}
	if err := Pin(p, "pinned"); err != nil {
		t.Fatal(err)
	}
	look(t, p)
	for range 2 {
		if err := Unpin(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{p.Net, p.IPC, p.UTS} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// look enters the namespaces on a thread that is then thrown away.
func look(t *testing.T, p Pins) {
	t.Helper()
	type seen struct {
		name string
		up   bool
		err  error
	}
	result := make(chan seen)
	go func() {
		runtime.LockOSThread()
		var s seen
		defer func() { result <- s }()
		for _, pin := range p.each() {
			f, err := os.Open(pin.path)
			if err != nil {
				s.err = err
				return
			}
			if s.err = unix.Setns(int(f.Fd()), pin.flag); s.err != nil {
				return
			}
			_ = f.Close()
		}
		if s.name, s.err = os.Hostname(); s.err != nil {
			return
		}
		lo, err := netlink.LinkByName("lo")
		s.up, s.err = err == nil && lo.Attrs().RawFlags&unix.IFF_UP != 0, err
	}()
	if s := <-result; s.err != nil || s.name != "pinned" || !s.up {
		t.Errorf("inside: %+v", s)
	}
}
