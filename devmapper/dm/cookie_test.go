package dm

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// complete does what udevd's last rule does: dmsetup udevcomplete.
func complete(t *testing.T, event uint32) {
	t.Helper()
	id, err := semget(cookieMagic<<16|int(event&0xffff), 1, 0)
	if err == nil {
		err = semdrop(id)
	}
	if err != nil {
		t.Errorf("udevcomplete %#x: %v", event, err)
	}
}

// resumed is a kernel whose every answer is a uevent; udevd hears the cookie
// and, unless it hangs, answers after a moment.
func resumed(heard chan<- uint32, uevent bool) Kernel {
	return ioctl(func(_ uintptr, b []byte) error {
		heard <- binary.NativeEndian.Uint32(b[atEvent:])
		if uevent {
			binary.NativeEndian.PutUint32(b[atFlags:], unix.DM_UEVENT_GENERATED_FLAG)
		}
		return nil
	})
}

type ioctl func(uintptr, []byte) error

func (f ioctl) Ioctl(request uintptr, b []byte) error { return f(request, b) }

func withUdev(k Kernel, patience time.Duration) *Control {
	c := New(k)
	c.udev = &udev{patience: patience}
	return c
}

func exists(event uint32) bool {
	_, err := semget(cookieMagic<<16|int(event&0xffff), 1, 0)
	return err == nil
}

// A call that makes a uevent returns when udevd is through with it, and
// leaves no semaphore.
func TestCookie(t *testing.T) {
	heard := make(chan uint32, 1)
	c := withUdev(resumed(heard, true), time.Minute)
	done := make(chan error)
	go func() { done <- c.Resume("a") }()
	event := <-heard
	if flags := event >> 16; flags != udevPrimarySource || event&0xffff == 0 {
		t.Errorf("cookie %#x", event)
	}
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	complete(t, event)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if exists(event) || c.Overdue() != 0 {
		t.Errorf("semaphore left %t, overdue %d", exists(event), c.Overdue())
	}
}

// Without a uevent nobody will answer, and nobody is waited for.
func TestCookieWithoutUevent(t *testing.T) {
	heard := make(chan uint32, 1)
	c := withUdev(resumed(heard, false), time.Hour)
	if err := c.Resume("a"); err != nil || exists(<-heard) {
		t.Errorf("%v", err)
	}
	c.kernel = ioctl(func(_ uintptr, b []byte) error {
		heard <- binary.NativeEndian.Uint32(b[atEvent:])
		return unix.EINVAL
	})
	if err := c.Resume("a"); !errors.Is(err, unix.EINVAL) || exists(<-heard) {
		t.Errorf("%v", err)
	}
}

// A udevd whose rules keep off is told so by flags alone, and not waited for.
func TestKeepsOff(t *testing.T) {
	heard := make(chan uint32, 1)
	c := withUdev(resumed(heard, true), time.Hour)
	c.udev.keepsOff = true
	if err := c.Resume("a"); err != nil {
		t.Error(err)
	}
	if event := <-heard; event != 0x004f0000 {
		t.Errorf("cookie %#x", event)
	}
}

// A udevd that hangs is not waited for beyond the bound, and while it hangs
// not even that long; when it answers again, it is waited for again.
func TestUdevHangs(t *testing.T) {
	heard := make(chan uint32, 1)
	c := withUdev(resumed(heard, true), 200*time.Millisecond)
	if err := c.Resume("a"); err != nil || exists(<-heard) || c.Overdue() != 1 {
		t.Errorf("%v, overdue %d", err, c.Overdue())
	}
	c.udev.patience = time.Hour // only a brief wait can end
	if err := c.Resume("a"); err != nil || exists(<-heard) || c.Overdue() != 2 {
		t.Errorf("%v, overdue %d", err, c.Overdue())
	}
	for c.udev.late.Load() { // the brief wait is short for a loaded machine
		done := make(chan error)
		go func() { done <- c.Resume("a") }()
		if id, err := semget(cookieMagic<<16|int(<-heard&0xffff), 1, 0); err == nil {
			_ = semdrop(id)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// The semaphore of a process that was killed while it waited goes at the next
// start; that of a living one stays, and those of other programs always.
func TestReapCookies(t *testing.T) {
	if id := os.Getenv("DM_TEST_COOKIE"); id != "" {
		if _, err := newCookie(); err != nil {
			t.Fatal(err)
		}
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	ours, err := newCookie()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.destroy()
	foreign, err := semget(cookieMagic<<16|0x0001, 1, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer cookie{id: foreign}.destroy()
	before := orphans(t)
	child := exec.Command(os.Args[0], "-test.run=^TestReapCookies$")
	child.Env = append(os.Environ(), "DM_TEST_COOKIE=1")
	if err := child.Run(); err == nil {
		t.Fatal("the child was not killed")
	}
	if n := orphans(t); n != before+1 {
		t.Fatalf("%d orphans, want %d", n, before+1)
	}
	reapCookies()
	if n := orphans(t); n != 0 {
		t.Errorf("%d orphans left", n)
	}
	for _, id := range []int{ours.id, foreign} {
		if _, err := semask(id, 0, semGetVal, 0); err != nil {
			t.Errorf("semaphore %d: %v", id, err)
		}
	}
}

func orphans(t *testing.T) (n int) {
	t.Helper()
	for _, id := range cookieSetIDs() {
		if orphaned(id) {
			n++
		}
	}
	return n
}
